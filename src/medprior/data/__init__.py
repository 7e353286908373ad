"""Volumes, the axes of the body, tensor helpers and seeds."""
