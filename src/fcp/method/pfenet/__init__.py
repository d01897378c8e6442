"""PFENet: prior-guided feature enrichment (Tian et al., TPAMI 2020, arXiv 2008.01449)."""
