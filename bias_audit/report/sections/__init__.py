"""The sections of an audit report, as rows and strings."""
