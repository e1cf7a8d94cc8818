"""One figure function per block."""
