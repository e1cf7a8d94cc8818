"""The parts of a comparison of two audits; `results.diff` puts them together."""
