"""The shapes in which analyses speak: each module declares one, and all else follows from it."""
