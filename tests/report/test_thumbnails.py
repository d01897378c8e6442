"""Small pictures of several classes: each class where it was, in its colour."""

import io

import numpy as np
import pytest
from PIL import Image

from fcp.report.thumbnails import LONGEST, class_thumbnail
from fcp.visualize import PALETTE


def decode(jpeg: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("size", [(600, 800), (801, 599)])
def test_each_class_keeps_its_place_and_colour(size):
    H, W = size
    labels = np.zeros(size, int)
    labels[: H // 2, : W // 2], labels[H // 2 :, W // 2 :] = 1, 4
    small = decode(class_thumbnail(np.full((H, W, 3), 100, np.uint8), labels, PALETTE))
    h, w = small.shape[:2]
    assert max(h, w) == LONGEST
    for (y, x), tint in {
        (h // 4, w // 4): PALETTE[0],
        (3 * h // 4, 3 * w // 4): PALETTE[3],
    }.items():
        expected = 0.55 * 100 + 0.45 * np.array(tint)
        assert np.abs(small[y, x] - expected).max() <= 6
    assert np.abs(small[h // 4, 3 * w // 4] - 100).max() <= 6


def test_a_small_photo_keeps_its_size():
    jpeg = class_thumbnail(np.zeros((30, 20, 3), np.uint8), np.zeros((30, 20), int), PALETTE)
    assert decode(jpeg).shape == (30, 20, 3)


def test_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        class_thumbnail(np.zeros((30, 20, 3), np.uint8), np.zeros((20, 30), int), PALETTE)
