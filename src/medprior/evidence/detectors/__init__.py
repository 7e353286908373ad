"""Plain anomaly detectors that stand beside every result of ours."""
