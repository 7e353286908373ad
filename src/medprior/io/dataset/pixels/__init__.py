"""What the pixels of a data set say: what an index keeps of them, and which images are the same."""
