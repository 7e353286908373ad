"""Label as a run: the queue that goes out, the answers that come in, and the page."""
