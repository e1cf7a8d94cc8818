"""Analyses of a layer's activations."""
