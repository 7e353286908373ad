"""Requests, runs and reports: what a person asks for, done, written down and shown."""
