"""Contrast: each cell is as the examples' object or as what surrounds it (ours, no training)."""
