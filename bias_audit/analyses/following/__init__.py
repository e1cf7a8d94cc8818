"""One network over its training: activity, confidence, and whether confidence is right."""
