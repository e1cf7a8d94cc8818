"""From results to documents; needs the run folder alone."""
