"""Contrast's steps against loops that follow the equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fcp.method.contrast.steps import contrast, middle, prototypes, segment_cells
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
    found = segment_cells(query, support, inside)
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
    found = segment_cells(support, support, inside)
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
    found = segment_cells(query, support, inside)
    other = segment_cells(query, support[:, order], inside[order])
    torch.testing.assert_close(found.contrast - found.middle, other.contrast - other.middle)
