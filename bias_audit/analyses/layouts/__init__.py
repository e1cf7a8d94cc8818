"""Layouts of units in the plane, one module each."""
