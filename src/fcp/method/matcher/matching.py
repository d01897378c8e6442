"""The left of Matcher's figure: bidirectional assignment of cells → points → prompts.

Numbers in brackets are the steps of ``docs/methods/matcher.md``. Letters: K shots
stacked to K·N support cells, C channels, N = h·w query cells, P points.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fcp.method.matcher.settings import MatcherSettings

MOST_MATCHES = 40  # more are halved by similarity
FEW_POINTS = 8  # of these all subsets are taken; and the number of centres


def assign(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Assign rows to columns one to one with the largest sum of S: (m,) rows and columns [2]."""
    rows, columns = linear_sum_assignment(similarity.cpu().numpy(), maximize=True)
    return torch.from_numpy(rows).to(similarity.device), torch.from_numpy(columns).to(
        similarity.device
    )


def match_both_ways(similarity: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Match masked support cells with query cells, and keep those that come back to a mask [2].

    Args:
        similarity: S (K·N, N).
        masks: (K·N,) boolean, at least one.

    Returns:
        support, query: (m,) cells of each pair, in the support's order.
    """
    inside = torch.where(masks)[0]
    rows, query = assign(similarity[inside])
    support = inside[rows]
    back, home = assign(similarity[:, query].mT)
    returned = torch.zeros(len(query), dtype=torch.bool, device=masks.device)
    returned[back] = masks[home]
    if not returned.any():
        returned[:] = True
    return support[returned], query[returned]


def best_matches(similarity: Tensor, support: Tensor, query: Tensor) -> Tensor:
    """Return the distinct query cells of the pairs, ascending; the better half of more than 40 [3].

    Args:
        similarity: S (K·N, N).
        support: (m,) cells.
        query: (m,) cells.
    """
    if len(query) > MOST_MATCHES:
        order = similarity[support, query].argsort(descending=True, stable=True)
        query = query[order[: len(query) // 2]]
    return query.unique()


def cell_centres(cells: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    """Return centres x, y (P, 2) of cells in a frame of ``size`` px, truncated: 14x + 7 [3]."""
    at = torch.stack([cells % grid[1], cells // grid[1]], 1)
    sides = torch.tensor([grid[1], grid[0]], device=cells.device)
    return (2 * at + 1) * size // (2 * sides)


def box_of_points(points: Tensor) -> Tensor:
    """Return x0, y0, x1, y1 (4,) of points (P, 2) [3]."""
    return torch.cat([points.amin(0), points.amax(0)])


def centres_of(points: Tensor, seed: int) -> Tensor:
    """Return at most 8 k-means centres (8, 2), truncated, started by k-means++ [4]."""
    count = min(FEW_POINTS, len(points))
    centres, _ = kmeans2(
        points.cpu().numpy().astype(np.float64), count, minit="++", rng=np.random.default_rng(seed)
    )
    return torch.from_numpy(centres.astype(np.int64)).to(points.device)


def prompt_sets(points: Tensor, settings: MatcherSettings, seed: int) -> Iterator[Tensor]:
    """Yield the prompts of each number n of points: (prompts, n, 2) [4].

    Args:
        points: (P, 2), P ≥ 1.
        settings: Sizes of the subsets, and how many are drawn of more than 8 points.
        seed: Seed of the draws.
    """
    random = np.random.default_rng(seed)
    total = len(points)
    least, most = (min(size, total) for size in settings.sizes)
    for n in range(least, most + 1):
        if total > FEW_POINTS:
            chosen = random.random((settings.draws, total)).argsort(1)[:, :n]
        else:
            chosen = np.array(list(itertools.combinations(range(total), n)))
        yield points[torch.from_numpy(chosen).to(points.device)]
