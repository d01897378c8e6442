"""The right of GF-SAM's figure: masks → graph of points → two gates → answer.

Numbers in brackets are the steps of ``docs/methods/gf-sam.md``. Letters: n points and their masks,
N = h·w cells, M components of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from fcp.method.free import down, nearest
from fcp.method.gf_sam.points import Alignment, similarity, weighted_mean

SHARE_EPSILON = 1e-6


@dataclass(frozen=True)
class Gates:
    """What became of n masks.

    Attributes:
        components: (n,) weakly connected component of each point.
        positive: (n,) boolean, through the positive gate.
        scores: (n,) of each mask's component: how much more of its last mask was positive than not.
        consistent: (n,) boolean, through the overshooting gate.
        labels: (n,) 1 both, 2 exactly one, 0 neither.
        chosen: (n,) boolean; the answer is the union of these masks.
    """

    components: Tensor
    positive: Tensor
    scores: Tensor
    consistent: Tensor
    labels: Tensor
    chosen: Tensor


def cover_graph(masks: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return whether mask i, nearest to the grid, is 1 at point j's cell: (n, n) boolean [5].

    Args:
        masks: (n, S, S) boolean.
        cells: (n,) of the points.
        grid: (h, w).
    """
    return nearest(masks, grid).flatten(1)[:, cells] > 0


def weak_components(graph: Tensor) -> Tensor:
    """Number the weakly connected components of a directed graph (n, n) boolean: (n,) [5]."""
    sparse = csr_array(graph.cpu().numpy().astype(np.int8))
    _, labels = connected_components(sparse, directed=True, connection="weak")
    return torch.from_numpy(labels.astype(np.int64)).to(graph.device)


def positive_gate(
    shares: Tensor, components: Tensor, found: Alignment, *, released: bool = True
) -> tuple[Tensor, Tensor]:
    """Keep masks whose new part is more positive than not, component by component [6].

    Args:
        shares: Masks ↓ grid (n, N).
        components: (n,).
        found: The query's alignment.
        released: Masks are tried by their mean P² - B·mid; False for their share of positive cells.

    Returns:
        positive: (n,) boolean.
        scores: (n,) of each mask's component.
    """
    excess = found.positive**2 - found.negative * found.middle
    good = (excess > 0).to(shares.dtype)  # R
    worth = excess if released else good
    order_by = (shares @ worth) / (shares.sum(1) + SHARE_EPSILON)
    positive = torch.zeros(len(shares), dtype=torch.bool, device=shares.device)
    scores = shares.new_zeros(len(shares))
    for component in components.unique():
        members = torch.where(components == component)[0]
        taken = torch.zeros_like(good)
        gain = shares.new_zeros(())
        for i in members[order_by[members].argsort(descending=True, stable=True)]:
            new = shares[i] * (1 - taken)
            inside, outside = (good * new).sum(), ((1 - good) * new).sum()
            gain = inside - outside
            if inside > outside:
                taken = taken + new
                positive[i] = True
        scores[members] = gain
    return positive, scores


def overshooting_gate(
    unions: Tensor,
    components: Tensor,
    cells: Tensor,
    query: Tensor,
    grid: tuple[int, int],
    *,
    released: bool = True,
) -> Tensor:
    """Keep points that their own component's region explains best [7].

    Args:
        unions: U_c ↓ grid (M, N), the union of each component's masks.
        components: (n,) 0 … M-1.
        cells: (n,) of the points.
        query: Cells (C, N).
        grid: (h, w).
        released: a component of which fewer points are consistent than not loses all of them.

    Returns:
        (n,) boolean.
    """
    own = similarity(query, query, released=released)  # (N, N)
    values = weighted_mean(own, unions)[:, cells]  # V_c at point j, (M, n)
    at = torch.stack([cells % grid[1], cells // grid[1]], 1).to(values.dtype)
    apart = torch.cdist(at, at, compute_mode="donot_use_mm_for_euclid_dist")
    members = components == torch.arange(len(unions), device=cells.device)[:, None]  # (M, n)
    distance = torch.where(members[:, :, None], apart, torch.inf).amin(1)
    distance = torch.where(distance == 0, torch.ones_like(distance), distance)
    consistent = (values / distance).argmax(0) == components
    if released:
        kept = (members & consistent).sum(1) >= (members & ~consistent).sum(1)
        consistent = consistent & kept[components]
    return consistent


def choose(
    positive: Tensor, scores: Tensor, consistent: Tensor, *, released: bool = True
) -> tuple[Tensor, Tensor]:
    """Label the masks, and choose those of the answer [8].

    Args:
        positive: (n,) boolean.
        scores: (n,) of each mask's component.
        consistent: (n,) boolean.
        released: Whether one mask is the answer where none passes both gates; False for no mask.

    Returns:
        labels: (n,) 1 both, 2 exactly one, 0 neither.
        chosen: (n,) boolean.
    """
    labels = torch.where(positive & consistent, 1, torch.where(positive ^ consistent, 2, 0))
    chosen = labels == 1
    if released and not chosen.any():
        best = torch.where(labels == 2, scores, torch.zeros_like(scores))
        first = (best == best.max()).nonzero()[0, 0]
        chosen = torch.arange(len(labels), device=labels.device) == first
    return labels, chosen


@dataclass(frozen=True)
class PixelsRead:
    """Pixels of one side of the frame that the gates read of a mask, R of S.

    A resize that does not smooth skips most pixels: of 1024 a grid of 37 reads about 100.

    Attributes:
        at: (R,) numbers of the pixels, ascending.
        nearest: (h,) places in ``at`` that the resize to h cells by nearest neighbour reads.
        weights: (h, R) of the bilinear resize to h cells.
    """

    at: Tensor
    nearest: Tensor
    weights: Tensor

    @classmethod
    def of(cls, size: int, cells: int, device: torch.device) -> PixelsRead:
        """Find them for a side of S px and h cells."""
        numbers = torch.arange(size, device=device)
        near = nearest(numbers.view(1, size, 1), (cells, 1)).flatten().long()
        weights = down(torch.eye(size, device=device)[None], (cells, size))[0]
        at = torch.cat([near, weights.nonzero()[:, 1]]).unique()
        return cls(at, torch.searchsorted(at, near), weights[:, at])


def gate(
    masks: Tensor,
    cells: Tensor,
    query: Tensor,
    found: Alignment,
    grid: tuple[int, int],
    *,
    released: bool = True,
) -> Gates:
    """Choose among the masks of n points [5-8].

    Args:
        masks: (n, S, S) boolean, one a point, n ≥ 1.
        cells: (n,) of the points.
        query: Cells (C, N).
        found: The query's alignment.
        grid: (h, w).
        released: The authors' program; False for the paper.
    """
    read = [PixelsRead.of(masks.shape[i + 1], grid[i], masks.device) for i in (0, 1)]
    pixels = masks[:, read[0].at][:, :, read[1].at]
    return gate_pixels(pixels, (read[0], read[1]), cells, query, found, released=released)


def gate_pixels(
    pixels: Tensor,
    read: tuple[PixelsRead, PixelsRead],
    cells: Tensor,
    query: Tensor,
    found: Alignment,
    *,
    released: bool = True,
) -> Gates:
    """Choose among the masks of n points by the pixels that count; see ``gate``.

    Args:
        pixels: (n, R, R') boolean, of the masks in the frame.
        read: Rows and columns that they are.
        cells: (n,) of the points.
        query: Cells (C, N).
        found: The query's alignment.
        released: The authors' program; False for the paper.
    """
    rows, columns = read
    grid = len(rows.nearest), len(columns.nearest)

    def shares(masks: Tensor) -> Tensor:
        return (rows.weights @ masks.to(rows.weights.dtype) @ columns.weights.mT).flatten(1)

    covered = pixels[:, rows.nearest][:, :, columns.nearest]
    components = weak_components(cover_graph(covered, cells, grid))
    positive, scores = positive_gate(shares(pixels), components, found, released=released)
    members = range(int(components.max()) + 1)
    unions = torch.stack([pixels[components == c].any(0) for c in members])
    consistent = overshooting_gate(
        shares(unions), components, cells, query, grid, released=released
    )
    labels, chosen = choose(positive, scores, consistent, released=released)
    return Gates(components, positive, scores, consistent, labels, chosen)
