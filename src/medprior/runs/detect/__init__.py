"""Runs of detection."""
