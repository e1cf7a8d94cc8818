"""The only place that knows every stage of an audit."""
