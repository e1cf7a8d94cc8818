"""What a user writes, validated as a whole before anything is loaded."""
