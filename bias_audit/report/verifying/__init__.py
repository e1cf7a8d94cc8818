"""Whether a printed report still says what its embedded data say."""
