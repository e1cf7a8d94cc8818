"""What can be asked of a layer's activations."""
