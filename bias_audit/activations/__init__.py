"""From images to activations of named layers, in one pass."""
