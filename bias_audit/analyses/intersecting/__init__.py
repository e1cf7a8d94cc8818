"""Groups within groups, interactions, and published claims about them."""
