"""Similarities against naive loops over cells, and what the decoder made of them must keep."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fcp.method.fcp.prototypes.correlation import (
    MOST_CELLS,
    SHARPNESS,
    Correlation,
    choose_cells,
    own_maps,
    prepare_query,
    prepare_support,
    similarity_maps,
)

CHANNELS = (3, 4, 5)  # a fine level of 8×8 cells, two coarse ones of 4×4


def levels(seed, count=1):
    generator = torch.Generator().manual_seed(seed)
    sides = (8, 4, 4)
    return tuple(
        torch.randn(count, c, side, side, generator=generator)
        for c, side in zip(CHANNELS, sides, strict=True)
    )


def square_mask(count=1):
    mask = torch.zeros(count, 16, 16)
    mask[:, 3:11, 4:12] = 1
    return mask


def unit(vector):
    return vector / np.linalg.norm(vector)


def naive_maps(support, mask, query):
    """Return the six maps of one coarse level, cell by cell, float64."""
    share = np.array(
        [[mask[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean() for x in range(4)] for y in range(4)]
    ).ravel()
    theirs = [unit(cell) for cell in support.reshape(len(support), -1).T]
    foreground = unit(sum(s * cell for s, cell in zip(share, theirs, strict=True)))
    background = unit(sum((1 - s) * cell for s, cell in zip(share, theirs, strict=True)))
    rows = []
    for cell in query.reshape(len(query), -1).T:
        cosines = np.array([unit(cell) @ other for other in theirs])
        attention = np.exp(SHARPNESS * cosines)
        fore, back = foreground @ unit(cell), background @ unit(cell)
        rows.append(
            [
                fore,
                back,
                cosines[share >= min(0.5, share.max() * 0.999)].max(),
                cosines[share <= 0.1].max(),
                fore - back,
                (attention * share).sum() / attention.sum(),
            ]
        )
    return np.array(rows).T.reshape(6, 4, 4)


def test_maps_are_those_of_a_loop_over_cells():
    support, query, mask = levels(0), levels(1), square_mask()
    found = similarity_maps(prepare_support(support, mask, 1), 0, prepare_query(query), 0)
    for number in (1, 2):
        expected = naive_maps(
            support[number][0].double().numpy(),
            mask[0].double().numpy(),
            query[number][0].double().numpy(),
        )
        part = found[6 * (number - 1) : 6 * number]
        np.testing.assert_allclose(part, expected, atol=2e-6)


def test_shots_are_pooled_in_any_order():
    support, mask, query = levels(0, 3), square_mask(3), prepare_query(levels(1))
    mask[1].zero_()[2:6, 2:6] = 1
    order = [2, 0, 1]
    one = prepare_support(support, mask, 3)
    other = prepare_support([level[order] for level in support], mask[order], 3)
    torch.testing.assert_close(
        similarity_maps(one, 0, query, 0), similarity_maps(other, 0, query, 0)
    )
    torch.testing.assert_close(one.fine_means, other.fine_means)


@pytest.mark.parametrize("foreground", [10, 5 * MOST_CELLS])
def test_kept_cells_stand_for_all_of_their_kind(foreground):
    share = torch.zeros(6 * MOST_CELLS)
    share[:foreground] = 1
    index, weight = choose_cells(share)
    assert len(index.unique()) == len(index)
    inside = share[index] == 1
    assert inside.sum() == min(foreground, MOST_CELLS)
    assert weight[inside].sum().item() == pytest.approx(foreground)
    assert weight[~inside].sum().item() == pytest.approx(len(share) - foreground)


@pytest.mark.parametrize("value", [0.2, 1.0])
def test_masks_without_sure_cells_give_finite_maps(value):
    """A speck has no cell that is half covered; a full mask has no background."""
    mask = torch.ones(1, 16, 16) if value == 1 else torch.zeros(1, 16, 16)
    mask[0, 0, 0] = 1
    support = prepare_support(levels(0), mask, 1)
    maps = similarity_maps(support, 0, prepare_query(levels(1)), 0)
    assert maps.isfinite().all()


def test_own_maps_compare_the_query_with_itself():
    query = prepare_query(levels(2))
    estimate = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    found = own_maps(query.levels, estimate)
    assert found.shape == (1, 2 * 3 + 2, 4, 4)
    cells = query.levels[0][0].flatten(1).double().numpy()  # (C, L)
    shown = estimate.flatten().double().numpy()
    foreground = unit((cells * shown**2).sum(1))
    background = unit((cells * (1 - shown) ** 2).sum(1))
    np.testing.assert_allclose(found[0, 0].flatten(), foreground @ cells, atol=1e-6)
    np.testing.assert_allclose(found[0, 2].flatten(), (foreground - background) @ cells, atol=1e-6)
    attention = np.exp(SHARPNESS * cells.T @ cells)
    carried = attention @ shown / attention.sum(1)
    np.testing.assert_allclose(found[0, 6].flatten(), carried, atol=1e-6)


@torch.no_grad()
def test_one_task_serves_many_pictures_as_each_alone():
    torch.manual_seed(0)
    net = Correlation(CHANNELS, 8, depth=1).eval()
    support = prepare_support(levels(0), square_mask(), 1)
    pictures = levels(1, 3)
    together = net(support, prepare_query(pictures))
    assert [tuple(e.shape) for e in together.estimates] == [(3, 4, 4), (3, 4, 4), (3, 8, 8)]
    for number in range(3):
        alone = net(support, prepare_query([level[number : number + 1] for level in pictures]))
        for one, other in zip(alone.estimates, together.estimates, strict=True):
            torch.testing.assert_close(one[0], other[number], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.presence[0], together.presence[number], atol=1e-5, rtol=0)


def test_the_similarity_maps_teach_the_backbone_as_finite_differences_have_it():
    """Along random directions of all features together."""
    generator = torch.Generator().manual_seed(0)
    features = [level.requires_grad_() for level in (*levels(0), *levels(1))]

    def value(parts):
        support = prepare_support(parts[:3], square_mask(), 1)
        return (similarity_maps(support, 0, prepare_query(parts[3:]), 0) * weights).sum()

    weights = torch.rand(6 * 2, 4, 4, generator=generator)
    gradients = torch.autograd.grad(value(features), features, allow_unused=True)
    used = [
        g if g is not None else torch.zeros_like(f)
        for g, f in zip(gradients, features, strict=True)
    ]
    for _ in range(3):
        step = [1e-3 * torch.randn(f.shape, generator=generator) for f in features]
        ahead, behind = (
            value([f.detach() + sign * s for f, s in zip(features, step, strict=True)])
            for sign in (1, -1)
        )
        expected = sum((g * s).sum() for g, s in zip(used, step, strict=True))
        torch.testing.assert_close((ahead - behind) / 2, expected, atol=2e-4, rtol=0.03)
        assert expected.abs() > 1e-3


def test_all_parameters_learn():
    net = Correlation(CHANNELS, 8, depth=1)
    found = net(prepare_support(levels(0), square_mask(), 1), prepare_query(levels(1)))
    loss = functional.softplus(found.estimates[-1]).sum() + found.presence.sum()
    loss.backward()
    assert all(p.grad is not None for name, p in net.named_parameters())
