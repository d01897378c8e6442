"""Prototypes of the query itself, found where a first estimate is sure (table1.md §1).

Letters: C channels, h w grid, n cells of a set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.method.parts import cells_of, grid_of, mean_under, spread

TEMPERATURE = 10.0
MEAN_EPSILON = 1e-5
OBJECT_THRESHOLD = 0.7
REST_THRESHOLD = 0.6
LEAST_CELLS = 12
ATTENTION_SCALE = 2.0


def support_prototypes(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Average features (S, C, h, w) over the object and over the rest of masks (S, H, W).

    Pixels of value 255 are in neither. Returns object and rest, (S, C) each.
    """
    found = [
        mean_under(features, cells_of(masks, grid_of(features), value), MEAN_EPSILON)
        for value in (1, 0)
    ]
    return found[0], found[1]


def similarity(query: Tensor, object_: Tensor, rest: Tensor) -> Tensor:
    """Compare query cells (B, C, h, w) with prototypes, (B, C, 1, 1) or (B, C, h, w) each.

    Returns:
        (B, 2, h, w): 10 · cosine, first with the rest, then with the object.
    """
    pair = [F.cosine_similarity(query, prototype, dim=1) for prototype in (rest, object_)]
    return TEMPERATURE * torch.stack(pair, 1)


def self_support(query: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find prototypes in the query's own cells.

    Args:
        query: (B, C, h, w).
        estimate: (B, 2, h, w) logits of rest and object.

    Returns:
        SSFP, the mean of the sure object cells (B, C, 1, 1); SSBP, that of the sure rest
        (B, C, 1, 1); ASBP, for each cell the rest that looks like it (B, C, h, w).
    """
    rest, object_ = estimate.flatten(2).softmax(1).unbind(1)  # (B, L) each
    cells = query.flatten(2)
    found = []
    for features, p_rest, p_object in zip(cells, rest, object_, strict=True):
        inside = features[:, sure_cells(p_object, OBJECT_THRESHOLD)]
        outside = features[:, sure_cells(p_rest, REST_THRESHOLD)]
        found.append((inside.mean(1), outside.mean(1), adaptive_rest(features, outside)))
    means, rests, adaptive = (torch.stack(parts) for parts in zip(*found, strict=True))
    grid = grid_of(query)
    return means[..., None, None], rests[..., None, None], adaptive.unflatten(2, grid)


def sure_cells(probability: Tensor, threshold: float) -> Tensor:
    """List the cells of (L,) above a threshold; where there are none, the 12 likeliest."""
    sure = (probability > threshold).nonzero()[:, 0]
    return sure if len(sure) else probability.topk(min(LEAST_CELLS, len(probability))).indices


def adaptive_rest(cells: Tensor, members: Tensor) -> Tensor:
    """Sum the rest's members (C, n) for each cell (C, L), weighed by softmax of 2 · cosine."""
    cosine = F.normalize(cells, dim=0).mT @ F.normalize(members, dim=0)  # (L, n)
    return members @ (ATTENTION_SCALE * cosine).softmax(1).mT


def estimates(query: Tensor, object_: Tensor, rest: Tensor, *, refine: bool) -> list[Tensor]:
    """Segment the query by the support's prototypes and then by its own.

    Args:
        query: (B, C, h, w).
        object_: (B, C) FP.
        rest: (B, C) BP.
        refine: Do a second round.

    Returns:
        Out1 and, of a second round, Out2: logits (B, 2, h, w) of rest and object.
    """
    fp, bp = spread(object_, (1, 1)), spread(rest, (1, 1))
    own, own_rest = own_prototypes(query, similarity(query, fp, bp))
    f1, b1 = 0.5 * fp + 0.5 * own, own_rest
    first = similarity(query, f1, b1)
    if not refine:
        return [first]
    own, own_rest = own_prototypes(query, first)
    f2 = 0.5 * fp + 0.2 * f1 + 0.3 * (0.5 * fp + 0.5 * own)
    b2 = 0.5 * bp + 0.2 * b1 + 0.3 * own_rest
    return [first, 0.7 * similarity(query, f2, b2) + 0.3 * first]


def own_prototypes(query: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the query gives of object (B, C, 1, 1) and of rest (B, C, h, w): SSFP, B1."""
    object_, rest, adaptive = self_support(query, estimate)
    return object_, 0.3 * rest + 0.7 * adaptive
