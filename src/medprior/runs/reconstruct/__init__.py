"""Runs of reconstruction, from scans and from scanner files."""
