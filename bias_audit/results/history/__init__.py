"""What all audits of a zoo found, in one SQLite file that other programs can read."""
