"""Blind readings: pictures that tell nothing, answers that are final, and how often readers are right."""
