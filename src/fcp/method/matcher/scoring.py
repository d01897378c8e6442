"""The right of Matcher's figure: masks → purity, coverage, transport → filters → union [6-8]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fcp.errors import FcpError
from fcp.layers.masked import touched_cells
from fcp.method.matcher.settings import MatcherSettings

EPSILON = 1e-6
FARTHEST, SPREAD = 0.33, 0.1  # of "distance": 1 - score, and beyond the best one's
SHARE_OF_BEST = 0.7  # of "top"


@dataclass(frozen=True)
class ProposalScores:
    """What M masks are worth; NaN where a filter had dropped a mask before.

    Attributes:
        purity: (M,) points in the mask over its grid cells.
        coverage: (M,) share of the points that lie in the mask.
        emd: (M,) 1 - earth mover's distance between masked support cells and the mask's cells.
        score: (M,).
        kept: (M,) boolean, through the filters.
    """

    purity: Tensor
    coverage: Tensor
    emd: Tensor
    score: Tensor
    kept: Tensor


def purity_and_coverage(
    masks: Tensor, points: Tensor, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return both (M,) of masks (M, S, S) boolean and points (P, 2) x, y px of the frame [6]."""
    inside = masks[:, points[:, 1], points[:, 0]].sum(1).float()
    cells = touched_cells(masks, grid).flatten(1).sum(1)
    return inside / cells.clamp(min=1) + EPSILON, inside / len(points) + EPSILON


def transport(similarity: Tensor, support_mask: Tensor, cells: Tensor) -> float:
    """Return 1 - EMD with cost (1 - S) / 2 between two uniform sets of cells [6].

    Args:
        similarity: S (K·N, N).
        support_mask: (K·N,) boolean.
        cells: (N,) boolean, of a mask; without any the worst value, 0.

    Raises:
        FcpError: the package that solves it is not installed.
    """
    if not cells.any():
        return 0.0
    try:
        import ot
    except ImportError as error:
        raise FcpError("matcher: needs the package POT; pip install 'fcp-seg[free]'") from error
    cost = ((1 - similarity[support_mask][:, cells]) / 2).cpu().double().numpy()
    rows, columns = (np.full(n, 1 / n) for n in cost.shape)
    return 1 - float(ot.emd2(rows, columns, cost))


def at_least(values: Tensor, least: float, kept: Tensor) -> Tensor:
    """Keep the masks with values ≥ min(least, maximum among those left) [7]; 0 keeps all."""
    if least <= 0 or not kept.any():
        return kept
    return kept & (values >= values[kept].max().clamp(max=least))


def score_masks(
    masks: Tensor,
    points: Tensor,
    similarity: Tensor,
    support_mask: Tensor,
    grid: tuple[int, int],
    *,
    settings: MatcherSettings,
) -> ProposalScores:
    """Score masks and filter them by coverage, emd and purity, in this order [6, 7].

    The transport is solved only for masks that no filter before it dropped.

    Args:
        masks: (M, S, S) boolean.
        points: (P, 2) of step 3, x, y px of the frame.
        similarity: S (K·N, N).
        support_mask: (K·N,) boolean.
        grid: (h, w).
        settings: Weights and thresholds.
    """
    purity, coverage = purity_and_coverage(masks, points, grid)
    kept = torch.ones(len(masks), dtype=torch.bool, device=masks.device)
    kept = at_least(coverage, settings.least_coverage, kept)
    emd = torch.full_like(purity, torch.nan)
    if settings.least_emd > 0:
        _fill(emd, kept, masks, similarity, support_mask, grid)
        kept = at_least(emd, settings.least_emd, kept)
    kept = at_least(purity, settings.least_purity, kept)
    if settings.alpha > 0:
        _fill(emd, kept & emd.isnan(), masks, similarity, support_mask, grid)
    moved = settings.alpha * emd if settings.alpha > 0 else torch.zeros_like(emd)
    score = moved + settings.beta * purity * coverage**settings.gamma
    return ProposalScores(purity, coverage, emd, score, kept)


def _fill(
    emd: Tensor,
    which: Tensor,
    masks: Tensor,
    similarity: Tensor,
    support_mask: Tensor,
    grid: tuple[int, int],
) -> None:
    """Solve the transport of some masks, in place; masks with equal cells are solved once."""
    number = torch.where(which)[0]
    if not len(number):
        return
    cells, same = touched_cells(masks[number], grid).flatten(1).unique(dim=0, return_inverse=True)
    values = [transport(similarity, support_mask, one) for one in cells]
    emd[number] = torch.tensor(values, device=emd.device, dtype=emd.dtype)[same]


def merge_by_distance(score: Tensor, merge: int) -> Tensor:
    """Return the numbers of the masks nearest to a perfect score [8].

    δ = 1 - score, ascending: those < 0.33 (the first always) with
    (δ - δ_min) / (δ_max + 1e-6) < 0.1, the first ``merge`` of them.
    """
    delta, order = (1 - score).sort(stable=True)
    near = delta < FARTHEST
    near[0] = True
    near &= (delta - delta[0]) / (delta[-1] + EPSILON) < SPREAD
    near[0] = True
    return order[near][:merge]


def merge_top(score: Tensor, merge: int) -> Tensor:
    """Return the numbers of the best ``merge`` masks whose score is > 0.7 of the best [8]."""
    values, order = score.sort(descending=True, stable=True)
    values, order = values[:merge], order[:merge]
    close = values / values[0] > SHARE_OF_BEST
    close[0] = True
    return order[close]


def choose(scores: ProposalScores, settings: MatcherSettings, shots: int) -> Tensor:
    """Return the numbers of the masks whose union is the answer, best first; maybe none [8]."""
    left = torch.where(scores.kept)[0]
    if not len(left):
        return left
    merge = settings.merge if shots == 1 else settings.merge_few
    rule = merge_by_distance if settings.merge_by == "distance" else merge_top
    return left[rule(scores.score[left], merge)]
