"""A picture's size, the square that tests of formats draw in it, and what a reader makes of it."""

import numpy as np

from fcp.data.images import read_mask
from fcp.formats.read import read_examples

SIZE = (30, 40)
SQUARE = [[4, 4], [12, 4], [12, 14], [4, 14]]  # x, y of its corners
INSIDE = np.zeros(SIZE, bool)
INSIDE[4:14, 4:12] = True


def read_masks_of(path, reading=None):
    """Read all examples: class → picture's name → mask."""
    return {
        name: {one.picture.name: read_mask(one.annotation, SIZE) for one in examples}
        for name, examples in read_examples(path, reading=reading).items()
    }
