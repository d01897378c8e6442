"""The mask of Contrast, mixed into that of several pooled examples (ours; docs/fusion.md).

The head is trained with one example at a time. What several examples have in common against their
surroundings needs no training (``method.contrast``), and errs in other places.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.encoders.base import PromptableSegmenter
from fcp.method.contrast.steps import SHARPNESS, compare_cells, redraw
from fcp.structures import ContrastSupport, Embedding

EPSILON = 1e-6  # least probability of a mixed mask


def prepare_support(cells: Tensor, inside: Tensor) -> ContrastSupport:
    """Return what tells the object from its surroundings in B tasks.

    Args:
        cells: Mid-level cells (B, Cm, n) of all examples of a task.
        inside: Whether they are the object's (B, n); at least one is.
    """
    units = F.normalize(cells, dim=1)
    own = [compare_cells(one, one, where) for one, where in zip(units, inside, strict=True)]
    return ContrastSupport(
        direction=torch.stack([one.foreground - one.background for one in own]),
        middle=torch.stack([one.middle for one in own]),
    )


def compare(support: ContrastSupport, units: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the logits (B, h, w) of the contrast of queries.

    Args:
        support: Support of B tasks, or of a single one for all B queries.
        units: Mid-level cells (B, Cm, L) of the queries, of length 1.
        grid: Their grid (h, w).
    """
    values = (support.direction[:, None] @ units)[:, 0]  # (B, L)
    return SHARPNESS * (values - support.middle[:, None]).unflatten(1, grid)


def draw(segmenter: PromptableSegmenter, maps: Tensor, embedding: Embedding) -> list[Tensor]:
    """Let the segmenter draw each query's contrast (B, h, w) once.

    Returns:
        Logits (h', w') of each query: the contrast itself where no cell is more like the object.
    """
    return [
        (redraw(segmenter, embedding.of(number), one, most=1) or (one,))[-1]
        for number, one in enumerate(maps)
    ]


def mix(logits: Tensor, drawn: list[Tensor], share: float) -> Tensor:
    """Return the logits (B, H, W) of the mean of two probabilities.

    Args:
        logits: (B, H, W).
        drawn: Logits of each picture, of any size.
        share: Weight of ``drawn``, 0 … 1.
    """
    size = logits.shape[-2:]
    others = [F.interpolate(one[None, None], size, mode="bilinear")[0, 0] for one in drawn]
    mixed = logits.sigmoid().lerp(torch.stack(others).sigmoid(), share)
    return mixed.clamp(EPSILON, 1 - EPSILON).logit()
