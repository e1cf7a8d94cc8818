"""An audit's results in the formats of other tools."""
