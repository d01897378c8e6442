"""Features of frozen encoders, computed once and stored."""
