"""Ways to learn from labels, and those that tune the prior's own network."""
