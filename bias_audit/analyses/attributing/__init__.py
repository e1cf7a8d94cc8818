"""Which parts of an image a decision rests on, group by group."""
