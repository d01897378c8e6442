"""From a user's examples and photos to masks."""
