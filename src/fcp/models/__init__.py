"""Model folders: reading, writing, and the shipped models."""
