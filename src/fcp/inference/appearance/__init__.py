"""Appearance: a classifier of pixels that is fitted to the examples of one task (ours)."""
