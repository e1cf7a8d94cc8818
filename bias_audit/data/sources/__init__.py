"""Face datasets, one module each."""
