"""Small blocks that know nothing of the paper: attention, position code, masked arithmetic."""
