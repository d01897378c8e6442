"""SAM's frame and the mask's cells in it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fcp.method.persam.frame import PictureFrame, mask_cells

LANDSCAPE = PictureFrame((60, 100), 64)


def test_longest_side_fills_the_square_and_the_rest_is_zero_once_normalised():
    assert LANDSCAPE.inner == (38, 64)
    assert PictureFrame((100, 60), 64).inner == (64, 38)
    image = torch.rand(1, 3, 60, 100)
    square = LANDSCAPE.put(image)
    resized = functional.interpolate(image, (38, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(square[:, :, :38], resized)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    assert torch.equal(square[0, :, 38:] - mean, torch.zeros(3, 26, 64))


def test_points_and_maps_go_there_and_back():
    corner = LANDSCAPE.fractions(torch.tensor([[100.0, 60.0]]))
    torch.testing.assert_close(corner, torch.tensor([[1.0, 38 / 64]]))
    ramp = torch.linspace(0, 1, 64).expand(1, 64, 64)
    back = LANDSCAPE.take(ramp)
    assert back.shape == (1, 60, 100)
    x = torch.tensor([[10.0, 5.0], [77.0, 40.0]])
    at = LANDSCAPE.fractions(x)[:, 0] * 64 / 63 - 0.5 / 63 + 0.5 * 64 / 100 / 63
    torch.testing.assert_close(back[0, [5, 40], [10, 77]], at, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("red", "needed"), [(255, 0.485), (128, 123.675 / 128)])
def test_a_cell_counts_by_the_mean_red_of_its_four_middle_pixels(red, needed):
    frame = PictureFrame((64, 64), 64)
    mask = (torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    found = mask_cells(mask[None], frame, (8, 8), red)[0]
    for i in range(8):
        for j in range(8):
            middle = mask[8 * i + 3 : 8 * i + 5, 8 * j + 3 : 8 * j + 5].mean()
            assert bool(found[i, j]) == bool(middle > needed)
    assert 0 < found.sum() < 64


def test_a_mask_that_vanishes_is_its_largest_cell_and_an_empty_one_stays_so():
    masks = torch.zeros(2, 64, 64)
    masks[0, 19, 43] = 1
    found = mask_cells(masks, PictureFrame((64, 64), 64), (8, 8))
    assert found[0].nonzero().tolist() == [[2, 5]]
    assert not found[1].any()
