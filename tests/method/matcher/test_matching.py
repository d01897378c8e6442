"""Matcher's assignments and prompts against enumeration and loops."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch

from fcp.method.matcher.matching import (
    assign,
    best_matches,
    box_of_points,
    cell_centres,
    centres_of,
    match_both_ways,
    prompt_sets,
)
from fcp.method.matcher.settings import COCO, PRESETS


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def best_assignment(similarity: torch.Tensor) -> dict[int, int]:
    """The best one-to-one assignment of all those of the smaller side, by enumeration."""
    rows, columns = similarity.shape
    if rows > columns:
        return {r: c for c, r in best_assignment(similarity.T).items()}
    best = max(
        itertools.permutations(range(columns), rows),
        key=lambda chosen: sum(float(similarity[r, c]) for r, c in enumerate(chosen)),
    )
    return dict(enumerate(best))


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (5, 5)])
def test_assignment_is_the_best_of_all(generator, shape):
    similarity = torch.randn(shape, generator=generator)
    rows, columns = assign(similarity)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == best_assignment(similarity)


@pytest.mark.parametrize("inside", [(0, 2, 3), (1,), (0, 1, 2, 4, 5, 6, 7)])
def test_matches_that_come_back_to_the_mask_stay(generator, inside):
    similarity = torch.randn(8, 5, generator=generator)
    masks = torch.zeros(8, dtype=torch.bool)
    masks[list(inside)] = True
    there = best_assignment(similarity[list(inside)])
    pairs = [(inside[row], column) for row, column in sorted(there.items())]
    query = [column for _, column in pairs]
    back = best_assignment(similarity[:, query].T)
    kept = [pair for i, pair in enumerate(pairs) if masks[back[i]]] or pairs
    support, found = match_both_ways(similarity, masks)
    assert list(zip(support.tolist(), found.tolist(), strict=True)) == kept


def test_without_a_match_that_comes_back_all_stay():
    similarity = torch.tensor([[0.1, 0.0], [0.9, 0.2], [0.3, 0.8]])
    support, query = match_both_ways(similarity, torch.tensor([True, False, False]))
    assert (support.tolist(), query.tolist()) == ([0], [0])  # cell 0 goes home to cell 1


def test_more_than_forty_matches_are_halved(generator):
    similarity = torch.randn(60, 60, generator=generator)
    for count, kept in ((40, 40), (41, 20), (45, 22)):
        support = torch.randperm(60, generator=generator)[:count]
        query = torch.randperm(60, generator=generator)[:count]
        found = best_matches(similarity, support, query)
        values = sorted(
            zip(similarity[support, query].tolist(), query.tolist(), strict=True), reverse=True
        )
        assert found.tolist() == sorted(cell for _, cell in values[:kept])


def test_points_are_the_cells_centres():
    cells = torch.tensor([0, 38, 1368])
    expected = [[14 * (c % 37) + 7, 14 * (c // 37) + 7] for c in cells.tolist()]
    points = cell_centres(cells, (37, 37), 518)
    assert points.tolist() == expected
    assert box_of_points(points).tolist() == [7, 7, 511, 511]


def test_of_few_points_all_subsets_are_prompts():
    points = torch.arange(10).view(5, 2)
    found = list(prompt_sets(points, replace(COCO, sizes=(2, 6)), seed=0))
    assert [tuple(prompts.shape) for prompts in found] == [
        (math.comb(5, n), n, 2) for n in range(2, 6)
    ]
    rows = {
        tuple(sorted(p.tolist()) for p in prompt) and str(prompt.tolist()) for prompt in found[0]
    }
    assert len(rows) == math.comb(5, 2)
    single = list(prompt_sets(points[:1], replace(COCO, sizes=(4, 6)), seed=0))
    assert [prompts.tolist() for prompts in single] == [[[[0, 1]]]]


def test_of_many_points_seeded_subsets_are_drawn():
    points = torch.arange(40).view(20, 2)
    settings = replace(COCO, draws=50, sizes=(3, 5))
    found = list(prompt_sets(points, settings, seed=0))
    assert [tuple(prompts.shape) for prompts in found] == [(50, n, 2) for n in (3, 4, 5)]
    for prompts in found:
        for prompt in prompts.tolist():
            assert len({tuple(p) for p in prompt}) == len(prompt)  # without putting back
            assert all(p in points.tolist() for p in prompt)
    again = list(prompt_sets(points, settings, seed=0))
    other = list(prompt_sets(points, settings, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    assert not torch.equal(found[0], other[0])


def test_centres_find_the_groups(generator):
    groups = torch.randint(0, 400, (8, 2), generator=generator) // 40 * 40
    groups = torch.unique(groups, dim=0)
    offsets = torch.tensor([[0, 0], [2, 0], [0, 2], [2, 2]])
    points = (groups[:, None] + offsets).flatten(0, 1)
    centres = centres_of(points, seed=0)
    assert centres.shape == (8, 2)
    assert torch.equal(centres, centres_of(points, seed=0))
    few = torch.tensor([[5, 6], [70, 8]])
    assert sorted(centres_of(few, seed=0).tolist()) == few.tolist()


def test_presets_are_those_of_the_paper():
    numbers = {
        name: (s.draws, s.sizes, s.masks, s.nms, s.iou, s.stability, s.dense, s.merge)
        for name, s in PRESETS.items()
    }
    assert numbers == {
        "coco": (64, (1, 6), 3, 0.65, 0.85, 0.90, True, 9),
        "fss": (30, (4, 6), 1, 1, 0, 0, False, 10),
        "parts": (128, (3, 6), 1, 1, 0, 0, False, 5),
    }
