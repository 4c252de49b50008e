"""Whether workers got worse: slower for the same work, fatter, or wrong; and whose fault it is."""
