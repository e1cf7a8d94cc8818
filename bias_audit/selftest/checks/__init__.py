"""What the self-test asks, one file per question."""
