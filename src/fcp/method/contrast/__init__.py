"""Contrast: more like the examples' object or what surrounds it, redrawn (ours, no training)."""
