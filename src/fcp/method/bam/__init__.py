"""BAM: a base learner says what not to segment (Lang et al., CVPR 2022, arXiv 2203.07615)."""
