"""Small networks trained on scans and labels, to judge what generated images are worth."""
