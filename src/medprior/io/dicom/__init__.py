"""DICOM: read, write, de-identify."""
