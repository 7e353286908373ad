"""Ways to learn from labels that tune the prior's own network."""
