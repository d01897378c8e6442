"""Photos of noise with a marked rectangle, for tests of what segments them."""

import numpy as np


def photo(seed):
    """Return noise (60, 80, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def mask(top=10):
    """Return a mask (60, 80) of 20 × 30 px."""
    marked = np.zeros((60, 80), bool)
    marked[top : top + 20, 20:50] = True
    return marked
