"""From examples and photos to masks, for people."""
