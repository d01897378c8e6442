"""Resizing agrees with Pillow and with a naive rule; the way back meets the way there."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fcp.data.transforms import (
    map_to_size,
    mask_to_square,
    rows_to_size,
    support_to_square,
    to_square,
)


def test_square_agrees_with_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (75, 110, 3), dtype=np.uint8)
    for size in (32, 75, 160):
        expected = np.asarray(
            Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
        )
        square = to_square(pixels, size)
        assert square.shape == (3, size, size)
        assert square.dtype == torch.float32
        difference = square.permute(1, 2, 0).numpy() * 255 - expected
        assert np.abs(difference).max() <= 1.01


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.sampled_from([8, 32, 64]),
    seed=st.integers(0, 9),
)
def test_mask_reads_the_floor_of_the_row_and_column(height, width, size, seed):
    mask = np.random.default_rng(seed).random((height, width)) > 0.5
    square = mask_to_square(mask, size)
    rows = [i * height // size for i in range(size)]
    columns = [i * width // size for i in range(size)]
    np.testing.assert_array_equal(square.numpy() > 0, mask[rows][:, columns])
    assert set(square.unique().tolist()) <= {0.0, 1.0}


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.sampled_from([8, 32, 64]),
    place=st.integers(0, 8099),
)
def test_a_supports_single_pixel_is_never_lost(height, width, size, place):
    mask = np.zeros((height, width), bool)
    row, column = divmod(place % mask.size, width)
    mask[row, column] = True
    square = support_to_square(mask, size).numpy() > 0
    nearest = mask_to_square(mask, size).numpy() > 0
    touched = np.zeros((size, size), bool)
    for i in range(size):
        for j in range(size):
            down = i * height < (row + 1) * size and row * size < (i + 1) * height
            across = j * width < (column + 1) * size and column * size < (j + 1) * width
            touched[i, j] = down and across
    np.testing.assert_array_equal(square, nearest if nearest.any() else touched)
    assert square.any()


def test_a_support_without_foreground_stays_empty():
    assert not support_to_square(np.zeros((9, 9), bool), 4).any()


def test_way_back_meets_way_there():
    smooth = np.tile(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], (120, 1, 3))
    back = map_to_size(to_square(smooth, 64)[0], (120, 200)).numpy() * 255
    assert np.abs(back - smooth[..., 0])[:, 4:-4].max() < 2


@given(
    start=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    data=st.data(),
)
def test_some_rows_are_the_rows_of_all(start, size, data):
    values = torch.randn(start, generator=torch.Generator().manual_seed(0))
    top = data.draw(st.integers(0, size[0] - 1))
    bottom = data.draw(st.integers(top + 1, size[0]))
    expected = map_to_size(values, size)[top:bottom]
    assert torch.allclose(rows_to_size(values, size, top, bottom), expected, atol=1e-5)
