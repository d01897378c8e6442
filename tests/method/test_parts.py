"""The shared equations against naive ones."""

import pytest
import torch
import torch.nn.functional as F

from fcp.method.parts import (
    ReluConv,
    best_cosine,
    cells_of,
    cross_entropy,
    mean_under,
    nearest_cells,
    prior,
)


@pytest.fixture
def signed():
    """Query (2, 5, 3, 4), supports (2, 3, 5, 3, 4), masks: a part, all cells, none."""
    generator = torch.Generator().manual_seed(0)
    query, support = (
        torch.randn(*shape, generator=generator) for shape in ((2, 5, 3, 4), (2, 3, 5, 3, 4))
    )
    cells = torch.zeros(2, 3, 3, 4)
    cells[:, 0, :2, 1:3] = torch.tensor([0.25, 1.0])
    cells[:, 1] = 1
    return query, support - 0.5, cells


def test_best_cosine_is_the_one_over_all_cells(signed, naive):
    query, support, cells = signed
    found = best_cosine(query, support, cells)
    for b in range(2):
        for k in range(3):
            expected = naive.best_cosine(query[b], support[b, k] * cells[b, k])
            torch.testing.assert_close(found[b, k].double(), expected, rtol=0, atol=1e-6)
    assert found[:, 0].min() == 0  # a cell outside the mask scores 0
    assert not found[:, 2].any()


def test_best_cosine_may_be_negative_where_all_is_object():
    query, support = -torch.ones(1, 2, 1, 2), torch.ones(1, 1, 2, 1, 2)
    assert best_cosine(query, support, torch.ones(1, 1, 1, 2)).max() == pytest.approx(-1)


def test_prior_is_stretched_per_picture_and_shot(signed):
    found = prior(*signed)[:, :2].flatten(2)
    torch.testing.assert_close(found.amin(2), torch.zeros(2, 2))
    torch.testing.assert_close(found.amax(2), torch.ones(2, 2))
    assert not prior(*signed)[:, 2].any()  # nothing to stretch


@pytest.mark.parametrize("side", [73, 64])
def test_masks_reach_the_grid(episode, naive, side):
    masks = episode(side, 2).support_masks[0]
    grid = -(-side // 8)
    found = cells_of(masks, (grid, grid))
    expected = naive.up((masks == 1).double()[:, None], (grid, grid))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)
    if side == 73:
        assert torch.equal(found[:, 0], (masks[:, ::8, ::8] == 1).float())
    rows = torch.arange(grid) * side // grid
    assert torch.equal(
        nearest_cells(masks, (grid, grid))[:, 0], (masks[:, rows][:, :, rows] == 1).float()
    )


def test_255_is_neither_object_nor_rest(episode):
    masks = episode(73, 1).support_masks[0]
    both = cells_of(masks, (10, 10)) + cells_of(masks, (10, 10), 0)
    assert both[:, :, -1].max() == 0
    assert both[:, :, 0].min() == 1


def test_masked_mean_sees_nothing_outside(naive):
    maps, cells = torch.rand(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    cells[..., 1:3, 2:] = torch.tensor([0.5, 1.0])
    expected = naive.mean_under(maps[0], cells[0, 0])
    torch.testing.assert_close(mean_under(maps, cells)[0].double(), expected, rtol=0, atol=1e-6)
    maps[..., 0, :] = 100
    torch.testing.assert_close(mean_under(maps, cells)[0].double(), expected, rtol=0, atol=1e-6)


def test_cross_entropy_leaves_255_out():
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5), dtype=torch.uint8)
    labels[0, 1:] = 255
    expected = F.cross_entropy(logits, labels.long(), ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    assert cross_entropy(logits, torch.full_like(labels, 255)) == 0


def test_dilated_convolution_keeps_the_grid():
    assert ReluConv(2, 3, 3, dilation=6, bias=True)(torch.rand(1, 2, 4, 7)).shape == (1, 3, 4, 7)
