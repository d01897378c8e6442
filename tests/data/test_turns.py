"""Arrays and points are turned as Pillow turns the picture of the same EXIF orientation."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from fcp.data.turns import turn_array, turn_points, upright

SIZE = (12, 20)


@pytest.mark.parametrize("turn", range(1, 9))
def test_they_agree_with_pillow(turn):
    stored = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = turn
    by_pillow = np.asarray(ImageOps.exif_transpose(picture))
    assert (turn_array(stored, turn) == by_pillow).all()
    assert upright(SIZE, turn) == by_pillow.shape

    rows, columns = np.divmod(np.arange(stored.size), SIZE[1])
    centres = np.stack([columns, rows], axis=1) + 0.5
    x, y = turn_points(centres, SIZE, turn).astype(int).T
    assert (by_pillow[y, x] == stored.ravel()).all()
