"""GF-SAM's alignment and points against loops that follow the equations."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from fcp.method.gf_sam.points import align, cell_corners, choose_points, similarity, soft_masks

C, K, GRID = 6, 2, (3, 4)
N = GRID[0] * GRID[1]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def naive_similarity(a: Tensor, b: Tensor, *, released: bool) -> Tensor:
    if released:
        a = torch.stack([channel / channel.norm() for channel in a])
        b = torch.stack([channel / channel.norm() for channel in b])
    found = torch.zeros(a.shape[1], b.shape[1])
    for s, q in itertools.product(range(a.shape[1]), range(b.shape[1])):
        cosine = a[:, s] @ b[:, q] / (a[:, s].norm() * b[:, q].norm() + 1e-7)
        found[s, q] = cosine if released else max(cosine, torch.zeros(()))
    return found


def naive_maps(support: Tensor, query: Tensor, shares: Tensor, *, released: bool):
    """P, X and B, shot by shot."""
    maps = []
    for k in range(len(support)):
        found, w = naive_similarity(support[k], query, released=released), shares[k]
        rows = []
        for weights in (w, 1 - w):
            total = sum(found[s] * weights[s] for s in range(N)) / N
            rows.append(total / (weights.sum() / N + 1e-7))
        maps.append([rows[0], (found * w[:, None]).max(0).values, rows[1]])
    return [torch.stack([shot[i] for shot in maps]).mean(0) for i in range(3)]


@pytest.mark.parametrize("released", [True, False])
def test_similarity(generator, released):
    scales = torch.rand(C, 1, generator=generator) * 5
    a, b = (scales * torch.randn(C, n, generator=generator) for n in (5, 7))
    found = similarity(a, b, released=released)
    torch.testing.assert_close(found, naive_similarity(a, b, released=released), atol=1e-5, rtol=0)
    assert (found < 0).any() == released


@pytest.mark.parametrize("released", [True, False])
def test_alignment(generator, released):
    support, query = (
        torch.randn(K, C, N, generator=generator),
        torch.randn(C, N, generator=generator),
    )
    shares = torch.rand(K, N, generator=generator)
    found = align(support, query, shares, released=released)
    P, X, B = naive_maps(support, query, shares, released=released)
    for ours, naive in ((found.positive, P), (found.most, X), (found.negative, B)):
        torch.testing.assert_close(ours, naive, atol=1e-5, rtol=0)
    assert float(found.middle) == pytest.approx(float(P.max() + P.min()) / 2, abs=1e-5)
    product = [float(p * x) for p, x in zip(P, X, strict=True)]
    for q in range(N):
        positive = (product[q] - min(product)) / (max(product) - min(product) + 1e-6)
        negative = float((B[q] - B.min()) / (B.max() - B.min() + 1e-6))
        expected = 0.0 if negative > positive else positive
        assert float(found.aligned[q]) == pytest.approx(expected, abs=1e-4)


def test_pooled_shots_are_one_example(generator):
    support, query = (
        torch.randn(K, C, N, generator=generator),
        torch.randn(C, N, generator=generator),
    )
    shares = torch.rand(K, N, generator=generator)
    for released in (True, False):
        one = align(support[:1], query, shares[:1], released=released)
        same = align(support[:1], query, shares[:1], released=released, pooled=True)
        for ours, other in zip(vars(one).values(), vars(same).values(), strict=True):
            torch.testing.assert_close(ours, other)
    many = align(support, query, shares, released=False, pooled=True)
    rows = [naive_similarity(support[k], query, released=False) for k in range(K)]
    weighted = sum((rows[k] * shares[k][:, None]).sum(0) for k in range(K)) / shares.sum()
    torch.testing.assert_close(many.positive, weighted, atol=1e-5, rtol=0)


def test_order_of_the_shots_does_not_matter(generator):
    support, query = (
        torch.randn(3, C, N, generator=generator),
        torch.randn(C, N, generator=generator),
    )
    shares = torch.rand(3, N, generator=generator)
    one = align(support, query, shares)
    other = align(support[[2, 0, 1]], query, shares[[2, 0, 1]])
    torch.testing.assert_close(one.aligned, other.aligned, atol=1e-5, rtol=0)


def test_points_are_the_best_cells_column_by_column(generator):
    aligned = torch.rand(N, generator=generator)
    cells = choose_points(aligned, GRID)
    count = math.floor(float(aligned.sum()))
    best = sorted(range(N), key=lambda n: -float(aligned[n]))[:count]
    assert cells.tolist() == sorted(best, key=lambda n: (n % GRID[1], n // GRID[1]))
    assert choose_points(torch.full((N,), 0.01), GRID).numel() == 1
    assert choose_points(torch.zeros(N), GRID).numel() == 0


def test_released_takes_at_most_128_points():
    aligned = torch.linspace(0.5, 1, 400)
    assert choose_points(aligned, (20, 20)).numel() == 128
    assert choose_points(aligned, (20, 20), released=False).numel() == int(aligned.sum())


def test_corners_are_truncated():
    cells = torch.tensor([0, 38, 37 * 36 + 36])
    expected = [[int((c % 37) * 1024 / 37), int((c // 37) * 1024 / 37)] for c in cells.tolist()]
    assert cell_corners(cells, (37, 37), 1024).tolist() == expected
    assert cell_corners(torch.tensor([5]), (2, 4), 100).tolist() == [[25, 50]]


def test_soft_masks_keep_the_corners(generator):
    mask = (torch.rand(9, 9, generator=generator) > 0.5).float()
    found = soft_masks(mask[None], (5, 5))[0].view(5, 5)
    torch.testing.assert_close(found, mask[::2, ::2])  # corners aligned: every second pixel
