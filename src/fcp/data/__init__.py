"""Pictures, masks and what is drawn from them: files in, arrays and episodes out."""
