"""Filters of a picture: sizes, symmetries, what a flat picture gives, and reading between cells."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from fcp.inference.appearance.features import LONGER_SIDE, filter_picture, read_at, working_size


def picture(height=96, width=128, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(96, 128), (1, 1), (3, 400), (500, 20)])
def test_maps_cover_the_picture_at_sizes_of_its_shape(size):
    first, *others = filter_picture(picture(*size))
    assert first.shape[1:] == working_size(size)
    assert max(first.shape[1:]) == LONGER_SIDE
    for maps in (first, *others):
        assert maps.dtype == torch.float32
        assert torch.isfinite(maps).all()


def test_a_flat_picture_has_no_edges_and_no_texture():
    colour = torch.tensor([51, 102, 204]) / 255
    first, half, quarter = filter_picture(np.full((64, 64, 3), (51, 102, 204), np.uint8))
    for maps, starts in ((first, (6, 15)), (half, (0,)), (quarter, (0,))):
        for start in starts:
            assert torch.allclose(maps[start : start + 3], colour[:, None, None], atol=1e-4)
            assert maps[start + 3 : start + 9].abs().max() < 1e-2
    assert first[24:].abs().max() < 1e-4  # beside the wide blurs


def test_a_mirrored_picture_has_mirrored_maps():
    pixels = picture(384, 288)  # no resize
    for maps, mirrored in zip(
        filter_picture(pixels), filter_picture(np.ascontiguousarray(pixels[:, ::-1])), strict=True
    ):
        assert torch.allclose(mirrored, maps.flip(2), atol=1e-3)


def test_maps_are_read_between_their_cells():
    maps = torch.rand(2, 5, 7)
    places = torch.rand(30, 2)
    cells = np.stack([places[:, 1] * 5 - 0.5, places[:, 0] * 7 - 0.5])
    expected = [map_coordinates(one.numpy(), cells, order=1, mode="nearest") for one in maps]
    assert np.allclose(read_at(maps, places).numpy().T, expected, atol=1e-5)
