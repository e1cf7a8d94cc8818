"""Linear probes, their controls, and what they say."""
