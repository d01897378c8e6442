"""Matcher's measures, filters and union against loops, and the transport against another solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from fcp.method.matcher.scoring import (
    ProposalScores,
    at_least,
    choose,
    merge_by_distance,
    merge_top,
    purity_and_coverage,
    score_masks,
    transport,
)
from fcp.method.matcher.settings import COCO, FSS, PARTS

SIZE, GRID = 40, (5, 5)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def draw_masks(generator: torch.Generator, count: int) -> torch.Tensor:
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.bool)
    for mask in masks:
        x, y, w, h = torch.randint(1, 20, (4,), generator=generator).tolist()
        mask[y : y + h, x : x + w] = True
    return masks


def test_purity_and_coverage_count_points_and_cells(generator):
    masks = draw_masks(generator, 6)
    masks[5] = False
    points = torch.randint(0, SIZE, (7, 2), generator=generator)
    purity, coverage = purity_and_coverage(masks, points, GRID)
    for i, mask in enumerate(masks):
        inside = sum(bool(mask[y, x]) for x, y in points.tolist())
        cells = sum(
            bool(mask[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].any())
            for r in range(5)
            for c in range(5)
        )
        assert float(purity[i]) == pytest.approx(inside / max(cells, 1) + 1e-6)
        assert float(coverage[i]) == pytest.approx(inside / 7 + 1e-6)


def emd(cost: np.ndarray) -> float:
    """Earth mover's distance of two uniform distributions as a linear programme."""
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    solved = linprog(
        cost.ravel(),
        A_eq=np.concatenate([rows, columns]),
        b_eq=np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)]),
    )
    return float(solved.fun)


def test_transport_is_the_linear_programmes(generator):
    pytest.importorskip("ot", reason="needs the extra free")
    similarity = 2 * torch.rand(10, 25, generator=generator) - 1
    mask = torch.rand(10, generator=generator) > 0.4
    for cells in (torch.rand(25, generator=generator) > 0.5, torch.arange(25) == 3):
        cost = ((1 - similarity[mask][:, cells]) / 2).numpy()
        assert transport(similarity, mask, cells) == pytest.approx(1 - emd(cost), abs=1e-6)
    assert transport(similarity, mask, torch.zeros(25, dtype=torch.bool)) == 0


@pytest.mark.parametrize("settings", [COCO, FSS, PARTS])
def test_scores(generator, settings):
    pytest.importorskip("ot", reason="needs the extra free")
    masks, points = draw_masks(generator, 6), torch.randint(0, SIZE, (7, 2), generator=generator)
    similarity = 2 * torch.rand(10, 25, generator=generator) - 1
    support = torch.rand(10, generator=generator) > 0.4
    settings = replace(settings, least_emd=0.2)
    found = score_masks(masks, points, similarity, support, GRID, settings=settings)
    cells = [
        [m[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].any() for r in range(5) for c in range(5)]
        for m in masks
    ]
    values = {
        "coverage": found.coverage.tolist(),
        "emd": [
            1 - emd(((1 - similarity[support][:, torch.tensor(one)]) / 2).numpy()) for one in cells
        ],
        "purity": found.purity.tolist(),
    }
    left = list(range(6))
    for name in ("coverage", "emd", "purity"):
        least = getattr(settings, f"least_{name}")
        if least:
            least = min(least, max(values[name][i] for i in left))
            left = [i for i in left if values[name][i] >= least - 1e-7]
    assert torch.where(found.kept)[0].tolist() == left
    for i in left:
        score = settings.alpha * values["emd"][i] + settings.beta * (
            values["purity"][i] * values["coverage"][i] ** settings.gamma
        )
        assert float(found.score[i]) == pytest.approx(score, abs=1e-5)


def test_a_filter_that_nobody_passes_keeps_the_best():
    values, everyone = torch.tensor([0.1, 0.2, 0.05]), torch.ones(3, dtype=torch.bool)
    assert at_least(values, 0.5, everyone).tolist() == [False, True, False]
    assert at_least(values, 0.1, everyone).tolist() == [True, True, False]
    assert at_least(values, 0, everyone).all()
    left = torch.tensor([True, False, True])
    assert at_least(values, 0.5, left).tolist() == [True, False, False]


def test_merging_by_distance():
    score = torch.tensor([0.70, 0.90, 0.89, 0.50, 0.86, 0.80])
    delta = sorted((1 - s, i) for i, s in enumerate(score.tolist()))
    best, worst = delta[0][0], delta[-1][0]
    expected = [i for d, i in delta if d < 0.33 and (d - best) / (worst + 1e-6) < 0.1]
    assert merge_by_distance(score, 9).tolist() == expected == [1, 2, 4]
    assert merge_by_distance(score, 2).tolist() == [1, 2]
    assert merge_by_distance(torch.tensor([0.1, 0.2]), 9).tolist() == [1]  # the first always


def test_merging_the_top():
    score = torch.tensor([0.2, 0.9, 0.65, 0.6, 0.8])
    assert merge_top(score, 10).tolist() == [1, 4, 2]
    assert merge_top(score, 2).tolist() == [1, 4]


def test_choice_is_among_the_kept_and_smaller_with_several_examples():
    score = torch.cat([torch.linspace(0.95, 0.94, 12), torch.tensor([0.3])])
    kept = torch.arange(13) != 0
    scores = ProposalScores(score, score, score, score, kept)
    assert choose(scores, COCO, 1).tolist() == list(range(1, 10))
    assert choose(scores, COCO, 5).tolist() == list(range(1, 6))
    assert choose(scores, FSS, 1).tolist() == list(range(1, 11))
    nothing = ProposalScores(score, score, score, score, kept & False)
    assert not len(choose(nothing, COCO, 1))
