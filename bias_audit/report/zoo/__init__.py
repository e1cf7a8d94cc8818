"""The overview of a zoo: one page made from its history alone."""
