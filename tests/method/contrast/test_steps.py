"""Contrast's steps against loops that follow the equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fcp.method.contrast.steps import (
    box_of,
    compare_cells,
    contrast,
    middle,
    prototypes,
    redraw,
)
from fcp.method.free import unit_cells

C, OWN, N = 6, 12, 9


@pytest.fixture
def scene() -> tuple[Tensor, Tensor, Tensor]:
    """Query cells, cells of two examples and whether they are the object's."""
    generator = torch.Generator().manual_seed(0)
    cells = unit_cells(torch.randn(C, N + OWN, generator=generator))
    return cells[:, :N], cells[:, N:], torch.arange(OWN) % 3 == 0


def naive_mean(cells: Tensor, inside: Tensor) -> list[float]:
    kept = [cells[:, i].tolist() for i in range(cells.shape[1]) if inside[i]]
    mean = [sum(values) / len(kept) for values in zip(*kept, strict=True)]
    length = sum(value**2 for value in mean) ** 0.5
    return [value / length for value in mean]


def test_a_query_is_compared_with_object_and_background(scene):
    query, support, inside = scene
    found = compare_cells(query, support, inside)
    p, b = naive_mean(support, inside), naive_mean(support, ~inside)
    assert found.foreground.tolist() == pytest.approx(p, abs=1e-6)
    assert found.background.tolist() == pytest.approx(b, abs=1e-6)

    def naive_contrast(cells: Tensor) -> list[float]:
        columns = cells.T.tolist()
        return [
            sum(pc * x for pc, x in zip(p, column, strict=True))
            - sum(bc * x for bc, x in zip(b, column, strict=True))
            for column in columns
        ]

    own = naive_contrast(support)
    inner = [value for value, is_object in zip(own, inside, strict=True) if is_object]
    outer = [value for value, is_object in zip(own, inside, strict=True) if not is_object]
    expected = (sum(inner) / len(inner) + sum(outer) / len(outer)) / 2
    assert float(found.middle) == pytest.approx(expected, abs=1e-6)
    assert found.contrast.tolist() == pytest.approx(naive_contrast(query), abs=1e-6)


def test_examples_part_at_the_middle(scene):
    _, support, inside = scene
    found = compare_cells(support, support, inside)
    assert found.contrast[inside].mean() > found.middle > found.contrast[~inside].mean()


def test_an_object_that_fills_the_examples_has_no_background(scene):
    query, support, _ = scene
    everything = torch.ones(OWN, dtype=torch.bool)
    foreground, background = prototypes(support, everything)
    assert not background.any()
    values = contrast(query, foreground, background)
    torch.testing.assert_close(values, foreground @ query)
    own = contrast(support, foreground, background)
    assert float(middle(own, everything)) == pytest.approx(float(own.mean()) / 2)


def test_the_order_of_examples_does_not_matter(scene):
    query, support, inside = scene
    order = torch.randperm(OWN, generator=torch.Generator().manual_seed(1))
    found = compare_cells(query, support, inside)
    other = compare_cells(query, support[:, order], inside[order])
    torch.testing.assert_close(found.contrast - found.middle, other.contrast - other.middle)


def test_the_box_is_that_of_the_cells_above_zero():
    logits = torch.full((8, 10), -1.0)
    logits[2, 3] = logits[5, 7] = 0.5
    assert box_of(logits)[0].tolist() == pytest.approx([0.3, 0.25, 0.8, 0.75])


class Recorder:
    """A segmenter whose mask is the prompted one, a cell smaller at the left each time."""

    def __init__(self) -> None:
        self.boxes: list[list[float]] = []
        self.prompts: list[Tensor] = []

    def embed_prompts(self, *, boxes: Tensor) -> tuple[Tensor, None]:
        self.boxes.append(boxes[0].tolist())
        return torch.zeros(1, 2, 4), None

    def decode_candidates(self, _, tokens, mask_prompt, *, multimask):
        assert tokens.shape == (1, 2, 4)
        assert not multimask
        self.prompts.append(mask_prompt[0, 0])
        drawn = mask_prompt.clone()
        columns = torch.where(drawn[0, 0] > 0)[1]
        drawn[..., : columns.min() + 1] = -1
        return drawn, torch.ones(1, 1)


@pytest.mark.parametrize(("width", "calls"), [(6, 3), (2, 2), (0, 0)])
def test_the_segmenter_draws_three_times_from_its_own_last_map(width, calls):
    logits = torch.full((4, 8), -1.0)
    logits[1:3, :width] = 1.0
    seen = Recorder()
    found = redraw(seen, None, logits)
    assert len(found) == len(seen.prompts) == calls
    for prompt, before in zip(seen.prompts, [logits, *found], strict=False):
        assert torch.equal(prompt, before)
    expected = [[i / 8, 0.25, width / 8, 0.75] for i in range(calls)]
    assert seen.boxes == [pytest.approx(box) for box in expected]


def test_one_call_is_the_first_of_three():
    logits = torch.full((4, 8), -1.0)
    logits[1:3, :6] = 1.0
    (only,) = redraw(Recorder(), None, logits, most=1)
    assert torch.equal(only, redraw(Recorder(), None, logits)[0])
