"""NIfTI files and their affines."""
