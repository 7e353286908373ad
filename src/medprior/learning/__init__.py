"""Few labels: what the prior's network knows of a scan, heads on top of it, and which label to ask for."""
