"""From a comparison of two audits to its page."""
