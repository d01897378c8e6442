"""The left of GF-SAM's figure: similarity → positive–negative alignment → points.

Numbers in brackets are the steps of ``docs/methods/gf-sam.md``. Letters: K shots,
C channels, N = h·w cells, n points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.method.free import down, pool_shots

COSINE_EPSILON = 1e-7
MEAN_EPSILON = 1e-7
MIN_MAX_EPSILON = 1e-6
MOST_POINTS = 128  # in the released program


@dataclass(frozen=True)
class Alignment:
    """How like the examples each query cell is.

    Attributes:
        positive: P (N,), mean similarity to the foreground.
        most: X (N,), largest similarity to the foreground.
        negative: B (N,), mean similarity to the background.
        middle: Mid, halfway between the extremes of P; a scalar.
        aligned: A (N,), 0 … 1.
    """

    positive: Tensor
    most: Tensor
    negative: Tensor
    middle: Tensor
    aligned: Tensor


def soft_masks(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring masks (K, S, S) to shares (K, N): bilinear, corners aligned [2]."""
    return down(masks, grid, align_corners=True).flatten(1)


def similarity(a: Tensor, b: Tensor, *, released: bool = True) -> Tensor:
    """Return S[i, j] between cells (…, C, N) and (C, N'): (…, N, N') [1].

    Args:
        a: First cells.
        b: Second cells.
        released: Each channel is first divided by its length over the cells of its own picture;
            False for the paper's cosine, where negative values become 0.
    """
    if released:
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    # In place: with thousands of cells, memory that is touched first costs more than the product.
    lengths = (a.norm(dim=-2)[..., :, None] * b.norm(dim=-2)).add_(COSINE_EPSILON)
    cosine = (a.mT @ b).div_(lengths)
    return cosine if released else cosine.relu_()


def weighted_mean(similarities: Tensor, shares: Tensor) -> Tensor:
    """Return (1/N) Σ_s S·w / (Σ w / N + 1e-7) of S (…, N, N') and w (…, N): (…, N') [2].

    A product of matrices: the map of a hundred regions never makes a hundred N×N' ones.
    """
    count = shares.shape[-1]
    total = (shares[..., None, :] @ similarities)[..., 0, :]
    return (total / count) / (shares.sum(-1, keepdim=True) / count + MEAN_EPSILON)


def min_max(values: Tensor) -> Tensor:
    """Stretch (N,) to 0 … 1, with 1e-6 in the denominator."""
    return (values - values.min()) / (values.max() - values.min() + MIN_MAX_EPSILON)


def align(
    support: Tensor, query: Tensor, shares: Tensor, *, released: bool = True, pooled: bool = False
) -> Alignment:
    """Compare a query with K examples [1-3].

    Args:
        support: Cells (K, C, N).
        query: Cells (C, N).
        shares: Soft masks w (K, N).
        released: See ``similarity``.
        pooled: All cells as one example instead of the mean over shots.
    """
    found = similarity(support, query, released=released)  # (K, N, N)
    if pooled:
        found, shares = found.flatten(0, 1)[None], pool_shots(shares)
    positive = weighted_mean(found, shares).mean(0)
    most = (found * shares[..., None]).amax(1).mean(0)
    negative = weighted_mean(found, 1 - shares).mean(0)
    aligned = min_max(positive * most)
    aligned = torch.where(min_max(negative) > aligned, torch.zeros_like(aligned), aligned)
    middle = (positive.max() + positive.min()) / 2
    return Alignment(positive, most, negative, middle, aligned)


def choose_points(aligned: Tensor, grid: tuple[int, int], *, released: bool = True) -> Tensor:
    """Return the ⌊ΣA⌋ best cells, at least one if ΣA > 0, ordered by x, then y [4].

    Args:
        aligned: A (N,).
        grid: (h, w).
        released: Whether at most 128 points are kept; False for any number.

    Returns:
        (n,) cells, y·w + x.
    """
    total = float(aligned.sum())
    count = min(int(total), MOST_POINTS) if released else int(total)
    count = max(count, int(total > 0))
    best = aligned.argsort(descending=True, stable=True)[:count]
    order = (best % grid[1]) * grid[0] + best // grid[1]
    return best[order.argsort()]


def cell_corners(cells: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    """Return the upper left corners x, y (n, 2) of cells in a frame of that many px [4]."""
    at = torch.stack([cells % grid[1], cells // grid[1]], 1)
    sides = torch.tensor([grid[1], grid[0]], device=cells.device)
    return at * size // sides
