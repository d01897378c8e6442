"""Pooling to any grid: against naive loops, and alike where the CPU pools for another device."""

import numpy as np
import pytest
import torch

from fcp.layers import pool
from fcp.layers.pool import max_pool, mean_pool


@pytest.fixture(params=["here", "elsewhere"], autouse=True)
def device(request, monkeypatch):
    """Run each test also as if this device could not pool."""
    if request.param == "elsewhere":
        monkeypatch.setattr(pool, "_CANNOT", ("cpu",))


@pytest.mark.parametrize("grid", [(4, 5), (7, 3), (1, 1), (12, 10)])
def test_each_cell_is_the_mean_or_maximum_of_the_pixels_it_touches(grid):
    maps = torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    mean, most = mean_pool(maps, grid).numpy(), max_pool(maps, grid).numpy()
    for row in range(grid[0]):
        for column in range(grid[1]):
            rows = slice(row * 12 // grid[0], -(-(row + 1) * 12 // grid[0]))
            columns = slice(column * 10 // grid[1], -(-(column + 1) * 10 // grid[1]))
            part = maps[:, :, rows, columns].numpy()
            np.testing.assert_allclose(mean[:, :, row, column], part.mean((2, 3)), rtol=1e-5)
            np.testing.assert_array_equal(most[:, :, row, column], part.max((2, 3)))


def test_the_gradient_reaches_the_maps():
    maps = torch.rand(1, 1, 6, 6, requires_grad=True)
    mean_pool(maps, (4, 4)).sum().backward()
    assert (maps.grad > 0).all()
