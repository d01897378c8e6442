"""CyCTR: cycle-consistent attention (Zhang et al., NeurIPS 2021, arXiv 2106.02320)."""
