"""An example of an extension of bias_audit: a data source and an analysis."""
