"""Runs of augmentation: one scan, a region, classical, a data set."""
