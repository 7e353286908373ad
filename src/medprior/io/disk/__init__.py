"""Files as such: whole or not at all, with limits, checksums and locks. Knows no image format."""
