"""Foreground against background on ready-made cells: prototypes → contrast → midpoint.

Numbers in brackets are the steps of ``docs/methods/contrast.md``. Letters: C channels, n cells of
the examples, N cells of the query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ContrastSteps:
    """What one query went through.

    Attributes:
        foreground: p (C,), of length 1.
        background: b (C,), of length 1; zeros where the object fills every example.
        middle: m, contrast at which object and background part; a scalar.
        contrast: d (N,) of the query's cells, -2 … 2.
    """

    foreground: Tensor
    background: Tensor
    middle: Tensor
    contrast: Tensor


def prototypes(cells: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return p and b (C,): the mean of unit cells (C, n) inside and outside, of length 1 [2].

    Args:
        cells: (C, n) of all examples.
        inside: (n,) boolean.
    """
    weights = torch.stack([inside, ~inside], 1).to(cells.dtype)  # (n, 2)
    foreground, background = F.normalize(cells @ weights, dim=0).unbind(1)
    return foreground, background


def contrast(cells: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """Return d = p·F - b·F (N,) of unit cells (C, N) [3]."""
    return (foreground - background) @ cells


def middle(values: Tensor, inside: Tensor) -> Tensor:
    """Return m: halfway between the mean contrast inside and outside, of the examples (n,) [4].

    Zero counts as the mean of no cells.
    """
    means = [values[part].sum() / part.sum().clamp(min=1) for part in (inside, ~inside)]
    return (means[0] + means[1]) / 2


def segment_cells(query: Tensor, support: Tensor, inside: Tensor) -> ContrastSteps:
    """Compare a query's cells with the examples' [2-4]; d > m is foreground.

    Args:
        query: unit cells (C, N).
        support: unit cells (C, n) of all examples.
        inside: (n,) boolean, at least one cell.
    """
    foreground, background = prototypes(support, inside)
    own = contrast(support, foreground, background)
    return ContrastSteps(
        foreground, background, middle(own, inside), contrast(query, foreground, background)
    )
