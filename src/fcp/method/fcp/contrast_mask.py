"""The mask of Contrast, mixed into that of several pooled examples (ours; docs/fusion.md).

The head is trained with one or two examples. Contrast (``method.contrast``) needs no training, and
errs in other places.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.method.contrast.steps import SHARPNESS, redraw, tell_apart
from fcp.method.free import down, unit_cells
from fcp.structures import ContrastSupport, Embedding, QueryFeatures

EPSILON = 1e-6  # least probability of a mixed mask


def prepare_support(cells: Tensor, inside: Tensor) -> ContrastSupport:
    """Return what tells the object from its surroundings in B tasks.

    Args:
        cells: Mid-level cells (B, Cm, n) of all examples of a task.
        inside: Whether they are the object's (B, n); at least one is.
    """
    directions, middles = [], []
    for own, where in zip(unit_cells(cells.float()), inside, strict=True):
        foreground, background, middle = tell_apart(own, where)
        directions.append(foreground - background)
        middles.append(middle)
    return ContrastSupport(torch.stack(directions).float(), torch.stack(middles).float())


def prepare_query(cells: Tensor) -> Tensor:
    """Return mid-level cells (B, Cm, L) of length 1 over Cm, in float32."""
    return unit_cells(cells.float())


def compare(support: ContrastSupport, query: QueryFeatures) -> Tensor:
    """Return the contrast of queries as logits (B, h, w).

    Args:
        support: Support of B tasks, or of a single one for all B queries.
        query: Features of B pictures.

    Raises:
        ValueError: the query was encoded without the cells that are compared.
    """
    if query.mid_units is None:
        raise ValueError("this query was encoded without the cells that Contrast compares")
    values = (support.direction[:, None] @ query.mid_units)[:, 0].float()  # (B, L)
    return SHARPNESS * (values - support.middle[:, None]).unflatten(1, query.grid)


def draw(segmenter: PromptableSegmenter, maps: Tensor, embedding: Embedding) -> list[Tensor]:
    """Let the segmenter draw each contrast once.

    Args:
        segmenter: Promptable segmenter.
        maps: Logits (B, h, w) of the contrast.
        embedding: Embedding of B pictures.

    Returns:
        Logits (h', w') of each picture as drawn; those of ``maps``, (h, w), where none is above 0.
    """
    return [
        (redraw(segmenter, embedding.of(number), one, most=1) or (one,))[-1]
        for number, one in enumerate(maps)
    ]


def mix(logits: Tensor, drawn: list[Tensor], share: float) -> Tensor:
    """Return the logits (B, H', W') of a mean of probabilities.

    Args:
        logits: Mask logits (B, H', W') of the head, in float32.
        drawn: Logits of B pictures, each of any size, in float32.
        share: Weight of ``drawn``, 0 … 1.
    """
    height, width = logits.shape[-2:]
    others = torch.cat([down(one[None], (height, width)) for one in drawn])
    mixed = logits.sigmoid().lerp(others.sigmoid(), share)
    return mixed.clamp(EPSILON, 1 - EPSILON).logit()
