"""PerSAM and PerSAM-F (arXiv 2305.03048): SAM alone, guided by the mean of the object's cells."""
