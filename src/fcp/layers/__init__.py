"""General blocks, not specific to the paper: attention, position code, masked arithmetic."""
