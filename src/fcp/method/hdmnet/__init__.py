"""HDMNet: distilled hierarchical correlations (Peng et al., CVPR 2023, arXiv 2303.14652)."""
