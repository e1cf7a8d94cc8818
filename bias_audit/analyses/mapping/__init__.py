"""Group profiles and their layouts."""
