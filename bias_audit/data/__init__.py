"""Faces, their annotations, and how they are drawn and split."""
