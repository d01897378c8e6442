"""SSP: self-support prototypes (Fan et al., ECCV 2022, arXiv 2207.11549)."""
