"""DICOM in: headers, pixels, geometry, series."""
