"""INSID3's figure on ready-made cells: debias → candidates → clusters → seed → mask.

Numbers in brackets are the steps of ``docs/methods/insid3.md``. Letters: K shots,
C channels, N cells, M clusters. A small ° marks debiased cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from fcp.method.free import down, nearest, pool_shots, unit_cells

TAU = 0.6  # similarity that clusters must exceed to merge
THRESHOLD = 0.2  # of a cluster's score
FALLBACK_QUANTILE = 0.9  # of the similarity, where no cell is like the prototype


@dataclass(frozen=True)
class Insid3Steps:
    """What one query went through.

    Attributes:
        prototype: p (C,), of length 1.
        similarity: F°Q·p (N,).
        votes: (N,) number of shots whose most similar cell lies in the mask.
        candidates: (N,) boolean.
        labels: (N,) cluster of each cell, 0 … M-1.
        seed: Cluster with the largest p·m°; -1 where no cluster has a candidate.
        scores: (M,) of each cluster.
        mask: (N,) boolean, the answer on the grid.
    """

    prototype: Tensor
    similarity: Tensor
    votes: Tensor
    candidates: Tensor
    labels: Tensor
    seed: int
    scores: Tensor
    mask: Tensor


def grid_masks(masks: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """Bring support masks to the grid.

    Nearest neighbour to the frame, then bilinear, more than one half. A mask that vanishes there is
    taken by nearest neighbour, and one that still vanishes is the cell at its centre of mass.

    Args:
        masks: (K, H, W) 0 or 1.
        size: Side (px) of the frame, 1024.
        grid: (h, w).

    Returns:
        (K, h, w) boolean; a mask without foreground stays empty.
    """
    framed = nearest(masks, (size, size))
    cells = down(framed, grid) > 0.5
    plain = nearest(framed, grid) > 0
    cells = torch.where(_vanished(cells), plain, cells)
    for k in torch.where(_vanished(cells).flatten() & framed.flatten(1).any(1))[0].tolist():
        centre = framed[k].nonzero().float().mean(0)  # row, column
        y, x = (int(c * cells_a_side // size) for c, cells_a_side in zip(centre, grid, strict=True))
        cells[k, y, x] = True
    return cells


def _vanished(cells: Tensor) -> Tensor:
    return ~cells.flatten(1).any(1)[:, None, None]


def positional_basis(blank: Tensor, components: int) -> Tensor:
    """Return U (C, s): the first left singular vectors of a blank image's centred cells [2].

    Args:
        blank: Features (C, N) of a picture without content.
        components: S.
    """
    cells = unit_cells(blank)
    left, _, _ = torch.linalg.svd(cells - cells.mean(1, keepdim=True), full_matrices=False)
    return left[:, :components]


def debias(cells: Tensor, basis: Tensor) -> Tensor:
    """Return F° = norm(F - U Uᵀ F) of unit cells (…, C, N) [3]."""
    return unit_cells(cells - basis @ (basis.mT @ cells))


def prototype(debiased: Tensor, masks: Tensor) -> Tensor:
    """Return p (C,): mean over each shot's mask cells, mean over shots, length 1 [4].

    Args:
        debiased: F° (K, C, N) of the supports.
        masks: (K, N) boolean; a shot without cells is left out.
    """
    weights = masks.to(debiased.dtype)
    counts = weights.sum(1)
    means = torch.einsum("kcn,kn->kc", debiased, weights)[counts > 0] / counts[counts > 0, None]
    return F.normalize(means.mean(0), dim=0)


def forward_cells(similarity: Tensor) -> Tensor:
    """Cells (N,) whose similarity to p is > 0, or else above its 0.9 quantile [5]."""
    positive = similarity > 0
    return positive if positive.any() else similarity > similarity.quantile(FALLBACK_QUANTILE)


def backward_votes(query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
    """Count for each query cell the shots whose most similar cell lies in the mask [5].

    One N×N product a shot; only a vote of it is kept.

    Args:
        query: F° (C, N).
        support: F° (K, C, N), all cells.
        masks: (K, N) boolean.

    Returns:
        (N,) 0 … K.
    """
    votes = torch.zeros(query.shape[1], dtype=torch.long, device=query.device)
    for cells, mask in zip(support, masks, strict=True):
        votes += mask[(cells.mT @ query).argmax(0)]
    return votes


def clusters(cells: Tensor, tau: float = TAU) -> Tensor:
    """Cluster unit cells (C, N), not debiased, by average linkage on D = 1 - clip(F·F) [6].

    Clusters merge strictly below 1 - tau.

    Returns:
        (N,) labels 0 … M-1.
    """
    if cells.shape[1] == 1:
        return torch.zeros(1, dtype=torch.long, device=cells.device)
    distance = (1 - (cells.mT @ cells).clamp(-1, 1)).cpu().numpy()
    tree = linkage(squareform(distance, checks=False), method="average")
    labels = fcluster(tree, np.nextafter(1 - tau, 0), criterion="distance")  # it merges at ≤
    return torch.from_numpy(labels.astype(np.int64) - 1).to(cells.device)


def cluster_means(values: Tensor, labels: Tensor) -> Tensor:
    """Average values (…, N) over each cluster: (…, M)."""
    members = F.one_hot(labels).to(values.dtype)  # (N, M)
    return values @ members / members.sum(0)


def find_seed(like_prototype: Tensor, share: Tensor) -> int:
    """Return the cluster with the largest p·m° among those with a candidate cell [7].

    Args:
        like_prototype: P·m°_k (M,).
        share: a_k (M,), candidate cells over cells; at least one > 0.
    """
    return int(like_prototype.masked_fill(share == 0, -torch.inf).argmax())


def cluster_scores(cross: Tensor, intra: Tensor, share: Tensor | None, seed: int) -> Tensor:
    """Return s_k = c_k·i_k·a_k (M,) with a_seed = 1; without a_k where ``share`` is None [8]."""
    if share is None:
        return cross * intra
    one = torch.arange(len(share), device=share.device) == seed
    return cross * intra * torch.where(one, torch.ones_like(share), share)


def segment_cells(
    query: Tensor,
    basis: Tensor,
    support: Tensor,
    masks: Tensor,
    *,
    released: bool = False,
    pooled: bool = False,
    tau: float = TAU,
    threshold: float = THRESHOLD,
) -> Insid3Steps:
    """Segment a query on the grid [4-8].

    Args:
        query: Unit cells F (C, N).
        basis: U (C, s).
        support: Debiased cells F° (K, C, N).
        masks: (K, N) boolean, at least one cell in all.
        released: The authors' program; False for the paper: no forward test, c_k = p·m°_k, no a_k,
            kept at the threshold too, and the seed always kept.
        pooled: All shots as one example.
        tau: See ``clusters``.
        threshold: Least score of a cell of the mask.
    """
    if pooled:
        support, masks = pool_shots(support), pool_shots(masks)
    debiased = debias(query, basis)
    p = prototype(support, masks)
    similarity = p @ debiased
    votes = backward_votes(debiased, support, masks)
    candidates = votes >= -(-len(masks) // 2)
    if released:
        candidates = candidates & forward_cells(similarity)
    if not candidates.any():
        nothing = torch.zeros_like(candidates)
        return Insid3Steps(
            p, similarity, votes, candidates, votes * 0, -1, similarity.new_zeros(1), nothing
        )
    labels = clusters(query, tau)
    means = unit_cells(cluster_means(query, labels))
    like_prototype = p @ unit_cells(cluster_means(debiased, labels))
    share = cluster_means(candidates.to(query.dtype), labels)
    seed = find_seed(like_prototype, share)
    intra = means[:, seed] @ means
    if released:
        scores = cluster_scores(cluster_means(similarity, labels), intra, share, seed)
        kept = scores > threshold
    else:
        scores = cluster_scores(like_prototype, intra, None, seed)
        kept = scores >= threshold
        kept[seed] = True
    return Insid3Steps(p, similarity, votes, candidates, labels, seed, scores, kept[labels])


def frame_mask(mask: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    """Bring a grid mask (N,) to the frame: boolean (size, size), more than one half [9]."""
    return down(mask.view(1, *grid), (size, size))[0] > 0.5
