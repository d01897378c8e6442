"""What the pixels of one task look like: a classifier fitted with the examples (ours)."""
