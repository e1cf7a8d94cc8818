"""The audit's own code on simulated activations, where the answers are known."""
