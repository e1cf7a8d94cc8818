"""Figures of the overview: many backbones side by side."""
