"""GF-SAM's graph and gates against loops that follow the equations."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from fcp.method.free import down, nearest
from fcp.method.gf_sam.gates import (
    PixelsRead,
    choose,
    cover_graph,
    gate,
    overshooting_gate,
    positive_gate,
    weak_components,
)
from fcp.method.gf_sam.points import Alignment, similarity

GRID, SIZE = (5, 5), 32
N, POINTS, C = 25, 9, 6


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def found(generator: torch.Generator) -> Alignment:
    positive, most, negative = torch.rand(3, N, generator=generator)
    return Alignment(positive, most, negative, (positive.max() + positive.min()) / 2, most)


def draw_masks(generator: torch.Generator) -> Tensor:
    """Boxes of several sizes."""
    masks = torch.zeros(POINTS, SIZE, SIZE, dtype=torch.bool)
    for mask in masks:
        x, y, w, h = torch.randint(2, 20, (4,), generator=generator).tolist()
        mask[y : y + h, x : x + w] = True
    return masks


def test_graph_reads_the_pixel_at_each_cell(generator):
    masks = draw_masks(generator)
    cells = torch.randperm(N, generator=generator)[:POINTS]
    graph = cover_graph(masks, cells, GRID)
    for i, j in itertools.product(range(POINTS), range(POINTS)):
        y, x = divmod(int(cells[j]), GRID[1])
        pixel = masks[i, math.floor(y * SIZE / 5), math.floor(x * SIZE / 5)]
        assert graph[i, j] == pixel


def test_pixels_read_give_both_resizes():
    masks = torch.rand(2, 40, 40) > 0.5
    for side in (5, 7, 40, 60):
        read = PixelsRead.of(40, side, masks.device)
        pixels = masks[:, read.at][:, :, read.at]
        covered = pixels[:, read.nearest][:, :, read.nearest]
        assert torch.equal(covered, nearest(masks, (side, side)) > 0)
        shares = read.weights @ pixels.float() @ read.weights.mT
        torch.testing.assert_close(shares, down(masks, (side, side)))
        assert len(read.at) <= min(3 * side, 40)


def test_components_ignore_the_direction(generator):
    graph = torch.rand(12, 12, generator=generator) > 0.93
    labels = weak_components(graph).tolist()
    reach = (graph | graph.T | torch.eye(12, dtype=torch.bool)).long()
    for _ in range(12):
        reach = ((reach @ reach) > 0).long()
    for i, j in itertools.product(range(12), range(12)):
        assert (labels[i] == labels[j]) == bool(reach[i, j])
    assert 1 < len(set(labels)) < 12


@pytest.mark.parametrize("released", [True, False])
def test_positive_gate(generator, found, released):
    shares = (torch.rand(POINTS, N, generator=generator) - 0.4).clamp(0, 1)
    components = torch.tensor([0, 0, 0, 1, 1, 2, 0, 1, 2])
    positive, scores = positive_gate(shares, components, found, released=released)
    excess = [
        float(p**2 - b * found.middle) for p, b in zip(found.positive, found.negative, strict=True)
    ]
    expected, worth = [False] * POINTS, [0.0] * POINTS
    for c in range(3):
        members = [i for i in range(POINTS) if components[i] == c]

        def order_by(i: int) -> float:
            each = excess if released else [float(e > 0) for e in excess]
            weighted = sum(float(shares[i, n]) * each[n] for n in range(N))
            return weighted / (float(shares[i].sum()) + 1e-6)

        taken, last = [0.0] * N, 0.0
        for i in sorted(members, key=order_by, reverse=True):
            new = [float(shares[i, n]) * (1 - taken[n]) for n in range(N)]
            inside = sum(m for m, e in zip(new, excess, strict=True) if e > 0)
            outside = sum(m for m, e in zip(new, excess, strict=True) if not e > 0)
            last = inside - outside
            if inside > outside:
                taken = [t + m for t, m in zip(taken, new, strict=True)]
                expected[i] = True
        for i in members:
            worth[i] = last
    assert positive.tolist() == expected
    assert scores.tolist() == pytest.approx(worth, abs=1e-5)
    assert 0 < sum(expected) < POINTS


@pytest.mark.parametrize("released", [True, False])
def test_overshooting_gate(generator, released):
    query = torch.randn(C, N, generator=generator)
    cells = torch.randperm(N, generator=generator)[:POINTS]
    components = torch.tensor([0, 0, 0, 1, 1, 2, 0, 1, 2])
    unions = torch.rand(3, N, generator=generator)
    own = similarity(query, query, released=released)
    expected = []
    for j in range(POINTS):
        y, x = divmod(int(cells[j]), GRID[1])
        values = []
        for c in range(3):
            w = unions[c]
            total = sum(float(own[s, cells[j]] * w[s]) for s in range(N)) / N
            others = [divmod(int(cells[i]), GRID[1]) for i in range(POINTS) if components[i] == c]
            d = min(math.hypot(y - v, x - u) for v, u in others) or 1.0
            values.append(total / (float(w.sum()) / N + 1e-7) / d)
        expected.append(max(range(3), key=lambda c: values[c]) == components[j])
    if released:
        groups = [[j for j in range(POINTS) if components[j] == c] for c in range(3)]
        for members in groups:
            if sum(expected[j] for j in members) < len(members) / 2:
                expected = [e and j not in members for j, e in enumerate(expected)]
    ours = overshooting_gate(unions, components, cells, query, GRID, released=released)
    assert ours.tolist() == expected


def flags(text: str) -> Tensor:
    return torch.tensor([letter == "1" for letter in text])


def test_answer_is_the_union_of_masks_through_both_gates():
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    labels, chosen = choose(flags("1100"), scores, flags("1010"))
    assert labels.tolist() == [1, 2, 2, 0]
    assert chosen.tolist() == [True, False, False, False]


def test_without_such_a_mask_released_takes_the_best_of_one_gate():
    positive, consistent = flags("0110"), flags("0001")
    _, chosen = choose(positive, torch.tensor([9.0, 2.0, 2.0, 1.0]), consistent)
    assert chosen.tolist() == [False, True, False, False]  # the first of equals; label 0 counts 0
    _, chosen = choose(positive, torch.tensor([-9.0, -2.0, -3.0, -1.0]), consistent)
    assert chosen.tolist() == [True, False, False, False]  # all negative: a mask of label 0 wins
    _, chosen = choose(positive, torch.tensor([9.0, 2.0, 2.0, 1.0]), consistent, released=False)
    assert not chosen.any()


def test_gate_drops_the_mask_of_the_background():
    """Two objects' masks on positive cells stay; one on the background goes."""
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
    masks[0, :12, :12] = masks[1, 20:, :12] = masks[2, :, 20:] = True
    cells = torch.tensor([0, 20, 14])
    query = torch.zeros(2, N)
    for y, x in itertools.product(range(5), range(5)):
        query[int(x >= 3), y * 5 + x] = 1
    positive = query[0] * 0.9 + 0.05
    negative = 0.9 - positive
    middle = (positive.max() + positive.min()) / 2
    found = gate(
        masks, cells, query, Alignment(positive, positive, negative, middle, positive), GRID
    )
    assert found.components.tolist() == [0, 1, 2]
    assert found.positive.tolist() == [True, True, False]
    assert found.chosen.tolist() == [True, True, False]
