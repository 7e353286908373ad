"""What proves a synthetic set: copies, fidelity, coverage, membership."""
