"""Places backbones come from, one module each."""
