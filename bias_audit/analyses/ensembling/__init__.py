"""Several backbones as one: votes of their probes, and their maps side by side."""
