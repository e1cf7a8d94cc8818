"""Erasing an attribute, and what that changes."""
