"""The checks of the self-test, one file per question."""
