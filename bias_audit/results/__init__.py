"""What an audit found: the narrow waist between computing and rendering."""
