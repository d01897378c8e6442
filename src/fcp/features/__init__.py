"""Features of frozen encoders, made once and stored."""
