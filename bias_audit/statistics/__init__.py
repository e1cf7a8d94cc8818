"""Estimates and their uncertainty: numpy and scipy only, no models, no files."""
