"""Maps on other grids, against torch's own interpolation and means by hand."""

import pytest
import torch
import torch.nn.functional as F

from fcp.layers.grid import join_levels, on_grid


@pytest.mark.parametrize("align_corners", [True, False])
def test_maps_are_resized_as_torch_does_it(align_corners):
    maps = torch.randn(2, 3, 5, 7)
    expected = F.interpolate(maps, (9, 4), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(on_grid(maps, (9, 4), align_corners=align_corners), expected)


def test_maps_on_their_own_grid_stay_as_they_are():
    maps = torch.randn(2, 3, 5, 7)
    assert on_grid(maps, (5, 7)) is maps


def test_finer_levels_are_averaged_over_the_cells_of_the_coarsest():
    fine, coarse = torch.randn(1, 2, 4, 6), torch.randn(1, 3, 2, 3)
    joined = join_levels([fine, coarse])
    assert joined.shape == (1, 5, 2, 3)
    for y in range(2):
        for x in range(3):
            block = fine[0, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            torch.testing.assert_close(joined[0, :2, y, x], block.mean((1, 2)))
    assert torch.equal(joined[:, 2:], coarse)
