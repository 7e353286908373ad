"""Parts of detection: whether a scan is of the right kind, and its healthy twin."""
