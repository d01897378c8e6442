"""Masks on the grid, foreground cells, means and min-max, each against a loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcp.layers.masked import (
    foreground_cells,
    mask_to_grid,
    masked_mean,
    min_max,
    pool_cells,
    spread_cells,
    take_cells,
)


def test_cell_i_reads_row_8i():
    masks = (torch.rand(2, 64, 32) > 0.5).float()
    assert torch.equal(mask_to_grid(masks, (8, 4)), masks[:, ::8, ::8] > 0)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (7, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.uint8])
def test_vanishing_mask_keeps_the_cells_it_touches(grid, dtype):
    masks = torch.zeros(2, 32, 32, dtype=dtype)
    masks[0, 5, 30] = 1  # on no row that nearest neighbour reads
    masks[1, :, :] = 1
    on_grid = mask_to_grid(masks, grid)
    assert on_grid[0].sum() == 1
    assert on_grid[0, 5 * grid[0] // 32, 30 * grid[1] // 32]
    assert on_grid[1].all()


def test_empty_mask_stays_empty():
    assert not mask_to_grid(torch.zeros(1, 16, 16), (4, 4)).any()


def test_a_mask_of_the_grids_size_is_kept():
    mask = torch.rand(1, 5, 7) > 0.5
    assert torch.equal(mask_to_grid(mask, (5, 7)), mask)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
def test_cells_are_the_foreground_and_come_back(rows):
    mask = torch.tensor(rows)
    mask[0, 3] = True
    index, inside = foreground_cells(mask)
    for picture in range(len(rows)):
        kept = index[picture][inside[picture]].tolist()
        assert kept == mask[picture].nonzero()[:, 0].tolist()
        assert len(set(index[picture].tolist())) == index.shape[1]
    maps = torch.randn(len(rows), 2, 6)
    back = spread_cells(take_cells(maps, index) * inside[:, None], index, 6)
    assert torch.equal(back, maps * mask[:, None])


def test_masked_mean_equals_a_loop():
    cells, inside = torch.randn(2, 3, 5), torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 1, 0]]).bool()
    found = masked_mean(cells, inside)
    for s in range(2):
        for c in range(3):
            kept = [float(cells[s, c, i]) for i in range(5) if inside[s, i]]
            assert float(found[s, c]) == pytest.approx(sum(kept) / (len(kept) + 5e-4), abs=1e-6)


def test_min_max_stretches_each_map():
    maps = torch.rand(2, 3, 9) * 1e-3
    stretched = min_max(maps)
    assert (stretched.amin(-1) == 0).all()
    torch.testing.assert_close(stretched.amax(-1), torch.ones(2, 3), atol=1e-5, rtol=0)
    assert (min_max(torch.full((1, 4), 0.25)) == 0).all()


def test_pooled_cells_follow_each_other_picture_by_picture():
    maps = torch.randn(6, 4, 5)  # 2 tasks of 3 pictures
    pooled = pool_cells(maps, 3)
    assert pooled.shape == (2, 4, 15)
    for task in range(2):
        expected = torch.cat([maps[3 * task + k] for k in range(3)], 1)
        assert torch.equal(pooled[task], expected)
    assert torch.equal(pool_cells(maps[:, 0], 3), pooled[:, 0])
