"""The jobs, each a straight line: reconstruct, augment, synthesize, detect, fit."""
