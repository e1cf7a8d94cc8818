"""What each block shape says in words and tables."""
