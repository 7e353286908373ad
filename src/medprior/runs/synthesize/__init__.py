"""Runs of synthesis and its copy audit."""
