"""Mutated inputs: whatever comes, only declared errors come out."""
