"""Explain as a run: the model from its file, the job, its files and its page."""
