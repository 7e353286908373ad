"""Evaluations and calibrations of a prior on a folder of scans."""
