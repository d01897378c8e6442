"""Foreground against background on ready-made cells, then a segmenter that draws it again.

Numbers in brackets are the steps of ``docs/methods/contrast.md``. Letters: C channels, n cells of
the examples, N cells of the query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.method.free import mask_boxes
from fcp.structures import Embedding

SHARPNESS = 20.0  # logit of a contrast of 1; those of real photos lie within a few tenths
CALLS = 3  # of the segmenter; a fourth changes next to nothing


@dataclass(frozen=True)
class Comparison:
    """What a query's cells are like.

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


@dataclass(frozen=True)
class ContrastSteps:
    """What one query went through.

    Attributes:
        compared: Contrast of its cells.
        calls: Logits (h', w') after each call of the segmenter, none to three: it ends on a map
            without a pixel above 0.
    """

    compared: Comparison
    calls: tuple[Tensor, ...]


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


def tell_apart(support: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return p and b (C,) of the examples' unit cells (C, n), and the middle m [2, 4].

    Args:
        support: Unit cells (C, n) of all examples.
        inside: (n,) boolean, at least one cell.
    """
    foreground, background = prototypes(support, inside)
    own = contrast(support, foreground, background)
    return foreground, background, middle(own, inside)


def compare_cells(query: Tensor, support: Tensor, inside: Tensor) -> Comparison:
    """Compare a query's cells with the examples' [2-4]; d > m is like the object.

    Args:
        query: Unit cells (C, N).
        support: Unit cells (C, n) of all examples.
        inside: (n,) boolean, at least one cell.
    """
    foreground, background, border = tell_apart(support, inside)
    return Comparison(foreground, background, border, contrast(query, foreground, background))


def box_of(logits: Tensor) -> Tensor:
    """Return x0, y0, x1, y1 (1, 4) of the cells above 0 of (h, w), as fractions of the sides."""
    first, last = mask_boxes((logits > 0)[None]).unflatten(1, (2, 2)).unbind(1)
    return torch.cat([first, last + 1], 1) / first.new_tensor(logits.shape).flip(0).repeat(2)


def redraw(
    segmenter: PromptableSegmenter, embedding: Embedding, logits: Tensor, most: int = CALLS
) -> tuple[Tensor, ...]:
    """Let the segmenter draw a map again, each time from the last one and its box [5].

    Args:
        segmenter: Promptable segmenter.
        embedding: One picture.
        logits: (h, w) of the contrast.
        most: Largest number of calls.

    Returns:
        Logits (h', w') after each call; it ends on a map without a pixel above 0.
    """
    calls: list[Tensor] = []
    while len(calls) < most and (logits > 0).any():
        tokens, _ = segmenter.embed_prompts(boxes=box_of(logits))
        drawn, _ = segmenter.decode_candidates(
            embedding, tokens, logits[None, None], multimask=False
        )
        logits = drawn[0, 0].float()
        calls.append(logits)
    return tuple(calls)
