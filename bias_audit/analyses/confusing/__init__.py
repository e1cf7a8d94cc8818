"""Wrong predictions of probes, and which attributes change in them."""
