"""INSID3's steps against loops that follow the equations, and on planted scenes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.method.free import unit_cells
from fcp.method.insid3.steps import (
    backward_votes,
    cluster_scores,
    clusters,
    debias,
    find_seed,
    forward_cells,
    frame_mask,
    grid_masks,
    positional_basis,
    prototype,
    segment_cells,
)

C, N, K = 12, 30, 3


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def cells(generator: torch.Generator, *shape: int) -> Tensor:
    return unit_cells(torch.randn(*shape, generator=generator) + 0.4)


def naive_mask(mask: Tensor, size: int, side: int) -> Tensor:
    """Nearest to the frame, then the four middle pixels of each cell: three must be set."""
    height, width = mask.shape
    p = size // side
    found = torch.zeros(side, side, dtype=torch.bool)
    for i, j in itertools.product(range(side), range(side)):
        middle = [
            mask[(p * i + p // 2 - a) * height // size, (p * j + p // 2 - b) * width // size]
            for a in (0, 1)
            for b in (0, 1)
        ]
        found[i, j] = sum(int(v) for v in middle) >= 3
    return found


def test_masks_need_three_of_the_four_middle_pixels(generator):
    masks = (torch.rand(4, 50, 70, generator=generator) > 0.4).float()
    expected = torch.stack([naive_mask(mask, 64, 8) for mask in masks])
    assert torch.equal(grid_masks(masks, 64, (8, 8)), expected)
    assert 0 < expected.float().mean() < 1


def test_masks_that_vanish_are_read_at_the_corner_then_at_their_centre():
    masks = torch.zeros(3, 64, 64)
    masks[0, 16, 24] = 1  # the first pixel of cell (2, 3)
    masks[1, 19:21, 50] = 1  # in no cell's middle, and no cell's first pixel
    found = grid_masks(masks, 64, (8, 8))
    assert found[0].nonzero().tolist() == [[2, 3]]
    assert found[1].nonzero().tolist() == [[2, 6]]
    assert not found[2].any()


def test_debiasing_removes_the_blank_images_directions(generator):
    blank, features = torch.randn(C, N, generator=generator), cells(generator, 2, C, N)
    basis = positional_basis(blank, 4)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(4), atol=1e-5, rtol=0)
    centred = unit_cells(blank) - unit_cells(blank).mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred.double() @ centred.double().mT)
    leading = vectors[:, values.argsort(descending=True)[:4]].float()
    torch.testing.assert_close(basis @ basis.mT, leading @ leading.mT, atol=1e-4, rtol=0)
    found = debias(features, basis)
    for k, n in itertools.product(range(2), range(N)):
        cell = features[k, :, n]
        rest = cell - sum((u @ cell) * u for u in basis.mT)
        torch.testing.assert_close(found[k, :, n], rest / rest.norm(), atol=1e-5, rtol=0)


def test_prototype_is_the_mean_of_means_without_empty_shots(generator):
    support = cells(generator, K, C, N)
    masks = torch.rand(K, N, generator=generator) > 0.6
    masks[1] = False
    means = [
        sum(support[k, :, n] for n in range(N) if masks[k, n]) / int(masks[k].sum())
        for k in range(K)
        if masks[k].any()
    ]
    expected = sum(means) / len(means)
    torch.testing.assert_close(prototype(support, masks), expected / expected.norm())
    order = [2, 0, 1]
    torch.testing.assert_close(prototype(support[order], masks[order]), prototype(support, masks))


def test_votes_count_the_shots_whose_nearest_cell_is_in_the_mask(generator):
    support, query = cells(generator, K, C, N), cells(generator, C, N)
    masks = torch.rand(K, N, generator=generator) > 0.5
    expected = torch.zeros(N, dtype=torch.long)
    for q, k in itertools.product(range(N), range(K)):
        nearest = max(range(N), key=lambda n: float(support[k, :, n] @ query[:, q]))
        expected[q] += int(masks[k, nearest])
    assert torch.equal(backward_votes(query, support, masks), expected)


def test_forward_falls_back_on_a_quantile():
    assert forward_cells(torch.tensor([-1.0, 0.0, 2.0])).tolist() == [False, False, True]
    below = -torch.arange(1.0, 12.0)
    assert forward_cells(below).tolist() == [True] + [False] * 10


def naive_clusters(features: Tensor, tau: float) -> set[frozenset[int]]:
    """Merge the nearest two, by the mean distance of their pairs, while that is < 1 - tau."""
    groups = [frozenset([n]) for n in range(features.shape[1])]

    def apart(a: frozenset[int], b: frozenset[int]) -> float:
        pairs = [1 - float(features[:, i] @ features[:, j]) for i in a for j in b]
        return sum(pairs) / len(pairs)

    while len(groups) > 1:
        a, b = min(itertools.combinations(groups, 2), key=lambda pair: apart(*pair))
        if apart(a, b) >= 1 - tau:
            break
        groups = [g for g in groups if g not in (a, b)] + [a | b]
    return set(groups)


@pytest.mark.parametrize("tau", [0.2, 0.4, 0.6])
def test_clusters_are_those_of_average_linkage(generator, tau):
    features = cells(generator, 6, 18)
    labels = clusters(features, tau)
    found = {frozenset(torch.where(labels == label)[0].tolist()) for label in labels.unique()}
    assert found == naive_clusters(features, tau)
    assert 1 < len(found) < 18
    assert labels.unique().tolist() == list(range(len(found)))


def test_clusters_at_the_very_threshold_stay_apart():
    features = torch.tensor([[1.0, 0.5], [0.0, math.sqrt(0.75)]])  # D = 0.5
    assert clusters(features, 0.5).unique().numel() == 2
    assert clusters(features, 0.49).unique().numel() == 1
    assert clusters(features[:, :1]).tolist() == [0]


def test_seed_and_scores():
    assert find_seed(torch.tensor([0.9, 0.2, 0.4]), torch.tensor([0.0, 0.1, 0.5])) == 2
    cross, intra, share = torch.rand(3), torch.rand(3), torch.tensor([0.0, 0.25, 0.5])
    expected = [0.0, float(cross[1] * intra[1] * 0.25), float(cross[2] * intra[2])]
    assert cluster_scores(cross, intra, share, 2).tolist() == pytest.approx(expected)
    torch.testing.assert_close(cluster_scores(cross, intra, None, 2), cross * intra)


def naive_segment(query, basis, support, masks, *, released):
    """Steps 4 to 8, cluster by cluster."""
    plain, debiased = query, debias(query, basis)
    p = prototype(support, masks)
    votes = backward_votes(debiased, support, masks)
    similarity = [float(debiased[:, n] @ p) for n in range(query.shape[1])]
    positive = [s > 0 for s in similarity]
    candidate = [
        int(v) >= math.ceil(len(masks) / 2) and (f or not released)
        for v, f in zip(votes, positive, strict=True)
    ]
    labels = clusters(plain)
    members = [torch.where(labels == k)[0].tolist() for k in range(int(labels.max()) + 1)]

    def mean(features: Tensor, group: list[int]) -> Tensor:
        return F.normalize(sum(features[:, n] for n in group) / len(group), dim=0)

    like = [float(p @ mean(debiased, group)) for group in members]
    matched = [any(candidate[n] for n in group) for group in members]
    seed = max((k for k in range(len(members)) if matched[k]), key=lambda k: like[k])
    scores = []
    for k, group in enumerate(members):
        intra = float(mean(plain, members[seed]) @ mean(plain, group))
        share = 1.0 if k == seed else sum(candidate[n] for n in group) / len(group)
        cross = sum(similarity[n] for n in group) / len(group)
        scores.append(cross * intra * share if released else like[k] * intra)
    kept = [s > 0.2 if released else (s >= 0.2 or k == seed) for k, s in enumerate(scores)]
    return seed, scores, [kept[int(label)] for label in labels]


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("shots", [1, 2, 3])
def test_segmenting_follows_the_equations(generator, released, shots):
    parts = torch.randn(4, C, generator=generator)

    def scene() -> tuple[Tensor, Tensor]:
        of = torch.randint(4, (N,), generator=generator)
        return unit_cells(parts[of].mT + 0.5 * torch.randn(C, N, generator=generator)), of < 2

    pairs = [scene() for _ in range(shots)]
    basis = positional_basis(torch.randn(C, N, generator=generator), 2)
    support = debias(torch.stack([features for features, _ in pairs]), basis)
    masks = torch.stack([mask for _, mask in pairs])
    query, _ = scene()
    found = segment_cells(query, basis, support, masks, released=released)
    seed, scores, mask = naive_segment(query, basis, support, masks, released=released)
    assert found.seed == seed
    assert found.scores.tolist() == pytest.approx(scores, abs=1e-5)
    assert found.mask.tolist() == mask
    assert 0 < sum(mask) < N


def planted(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An object of two parts in front of two backgrounds, each of its own direction."""
    directions = torch.linalg.qr(torch.randn(C, 5, generator=generator))[0]
    directions[:, 1] = unit_cells(directions[:, 0:1] + 0.9 * directions[:, 1:2])[:, 0]

    def scene(of: Tensor) -> Tensor:
        return unit_cells(directions[:, of] + 0.05 * torch.randn(C, len(of), generator=generator))

    of_support = torch.randint(4, (N,), generator=generator)
    of_query = torch.randint(4, (N,), generator=generator)
    return scene(of_support), of_support < 2, scene(of_query), of_query < 2


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("pooled", [True, False])
def test_planted_object_is_found(generator, released, pooled):
    support, mask, query, truth = planted(generator)
    nothing = torch.linalg.qr(torch.randn(C, 1, generator=generator))[0] * 0
    found = segment_cells(
        query, nothing, support[None], mask[None], released=released, pooled=pooled
    )
    assert torch.equal(found.mask, truth)


def test_one_shot_pooled_is_one_shot_and_order_does_not_matter(generator):
    support, query = cells(generator, K, C, N), cells(generator, C, N)
    masks = torch.rand(K, N, generator=generator) > 0.5
    basis = positional_basis(torch.randn(C, N, generator=generator), 2)
    alone = segment_cells(query, basis, support[:1], masks[:1])
    again = segment_cells(query, basis, support[:1], masks[:1], pooled=True)
    torch.testing.assert_close(alone.scores, again.scores)
    assert torch.equal(alone.mask, again.mask)
    order = [1, 2, 0]
    for pooled in (True, False):
        one = segment_cells(query, basis, support, masks, pooled=pooled)
        other = segment_cells(query, basis, support[order], masks[order], pooled=pooled)
        torch.testing.assert_close(one.scores, other.scores)
        assert torch.equal(one.mask, other.mask)


def test_no_candidate_is_an_empty_mask(generator):
    support, query = cells(generator, 1, C, N), cells(generator, C, N)
    mask = torch.zeros(1, N, dtype=torch.bool)
    hit = (support[0].mT @ query).argmax(0)
    mask[0, next(n for n in range(N) if n not in hit.tolist())] = True
    found = segment_cells(query, torch.zeros(C, 1), support, mask)
    assert found.seed == -1
    assert not found.mask.any()


def test_frame_mask_is_bilinear_and_more_than_half():
    mask = torch.tensor([1, 0, 0, 0], dtype=torch.bool)
    found = frame_mask(mask, (2, 2), 8)
    for y, x in itertools.product(range(8), range(8)):
        across, down = (min(max((v + 0.5) / 4 - 0.5, 0), 1) for v in (x, y))
        assert bool(found[y, x]) == ((1 - across) * (1 - down) > 0.5)
