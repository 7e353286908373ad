"""What the prior's own features know: healthy scans, their places, and what is unlike them."""
