"""Correlation (ours): a coarse mask and a presence from similarities alone, at every level.

The conventional mask compares one level, foreground only. Here each level of the backbone gives six
maps of a query cell's similarity to the support's foreground and background. A small decoder reads
those maps and no features, so that it cannot memorise the training classes. From a first estimate
the query's own foreground and background become the prototypes of a second one. The result guides
the head in the conventional mask's place, and is the mask decoder's dense prompt.

Letters: S tasks or pictures, C channels of a level, n support cells, L = h·w query cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.layers.masked import mask_to_share, pool_cells, take_cells
from fcp.layers.mix import MixBlock
from fcp.structures import CorrelationOutput, CorrelationQuery, CorrelationSupport

SHARPNESS = 20.0  # factor on the cosines, -1 … 1, of the attention that transfers masks
MOST_CELLS = 784  # most foreground cells, and most others, that a query is compared with
FOREGROUND_SHARE = 0.5  # share of foreground from which on a cell counts as foreground
BACKGROUND_SHARE = 0.1  # share of foreground up to which a cell counts as background
MAPS = 6  # maps that ``similarity_maps`` makes of a level
FINE_MAPS = 6  # maps of the finest level: three of the support's prototypes, three of the query's
SELF_MAPS = 3
SELF_ATTENTION = (0, -1)  # coarse levels whose attention transfers the first estimate


class Correlation(nn.Module):
    """Similarity maps of all levels → mask logits in three estimates, and presence.

    Args:
        levels: Channels of the backbone's levels, the finest first.
        width: Number of hidden channels.
        depth: Number of blocks of each of the two coarse estimates.
    """

    def __init__(self, levels: Sequence[int], width: int, depth: int = 3) -> None:
        super().__init__()
        coarse = len(levels) - 1
        fine_width = width // 2
        self.read = nn.Conv2d(MAPS * coarse, width, 1)
        self.first = nn.Sequential(*(MixBlock(width) for _ in range(depth)))
        self.first_mask = nn.Conv2d(width, 1, 1)
        own = SELF_MAPS * coarse + len(SELF_ATTENTION)
        self.read_own = nn.Conv2d(width + 1 + own, width, 1)
        self.second = nn.Sequential(*(MixBlock(width) for _ in range(depth)))
        self.second_mask = nn.Conv2d(width, 1, 1)
        self.read_fine = nn.Conv2d(width + 1 + FINE_MAPS, fine_width, 1)
        self.fine = nn.Sequential(MixBlock(fine_width), MixBlock(fine_width))
        self.fine_mask = nn.Conv2d(fine_width, 1, 1)
        self.presence = nn.Sequential(
            nn.Linear(4 * width + 2, width), nn.GELU(), nn.Linear(width, 1)
        )

    def forward(
        self, support: CorrelationSupport, query: CorrelationQuery, shots: int = 1
    ) -> CorrelationOutput:
        """Estimate the mask of the support's class in the query.

        Args:
            support: Support of B tasks of K shots each, S = B·K; or of one task, for all pictures.
            query: Query levels of B pictures.
            shots: Number of shots K.
        """
        pictures = torch.arange(len(query.fine)).repeat_interleave(shots)
        one = len(support.share) == shots
        tasks = torch.arange(shots).repeat(len(query.fine)) if one else torch.arange(len(pictures))
        levels = tuple(level[pictures] for level in query.levels)
        pairs = zip(tasks.tolist(), pictures.tolist(), strict=True)
        maps = torch.stack(
            [similarity_maps(support, task, query, picture) for task, picture in pairs]
        )
        hidden = self.first(F.gelu(self.read(maps)))
        first = self.first_mask(hidden)
        own = own_maps(levels, first.detach().sigmoid())
        hidden = hidden + self.second(F.gelu(self.read_own(torch.cat([hidden, first, own], 1))))
        second = self.second_mask(hidden)
        fine = self._refine(support.fine_means[tasks], query.fine[pictures], hidden, second)
        return CorrelationOutput(
            estimates=tuple(mask[:, 0] for mask in (first, second, fine)),
            presence=self.presence(pool_hidden(hidden, second.detach()))[:, 0],
        )

    def _refine(self, theirs: Tensor, cells: Tensor, hidden: Tensor, coarse: Tensor) -> Tensor:
        """Refine the coarse mask (S, 1, h, w) on the finest level's grid (S, 1, h', w').

        Args:
            theirs: Support's means at the finest level (S, 2, C).
            cells: Query's cells at the finest level (S, C, h', w').
            hidden: Hidden maps of the coarse estimate (S, width, h, w).
            coarse: Mask logits (S, 1, h, w).
        """
        grid = cells.shape[-2:]
        with torch.no_grad():
            shown = F.interpolate(coarse.sigmoid(), grid, mode="bilinear")
            own = prototypes(cells.flatten(2), shown.flatten(2))
            means = torch.cat([theirs, own], 1)  # (S, 4, C)
            like = (means @ cells.flatten(2)).unflatten(2, grid)  # (S, 4, h', w')
            maps = torch.cat(
                [like[:, :2], like[:, :1] - like[:, 1:2], like[:, 2:], like[:, 2:3] - like[:, 3:]],
                1,
            )
        above = F.interpolate(torch.cat([hidden, coarse], 1), grid, mode="bilinear")
        drawn = self.fine(F.gelu(self.read_fine(torch.cat([above, maps], 1))))
        return self.fine_mask(drawn) + above[:, -1:]


def prepare_support(levels: Sequence[Tensor], masks: Tensor, shots: int) -> CorrelationSupport:
    """Choose and scale the cells of S tasks of ``shots`` pictures each, whose cells are pooled.

    Args:
        levels: Maps of the backbone (S·K, C, h, w), the finest first.
        masks: Masks of the examples (S·K, H, W), 0 or 1.
        shots: Number of shots K.

    Returns:
        Support with up to 784 foreground cells and as many others of each task, evenly spread.
    """
    fine, *coarse = levels
    height, width = coarse[-1].shape[-2:]
    share = pool_cells(mask_to_share(masks.float(), (height, width)), shots)  # (S, K·L)
    chosen = [choose_cells(one) for one in share]
    longest = max(len(index) for index, _ in chosen)
    index = torch.stack([F.pad(index, (0, longest - len(index))) for index, _ in chosen])
    weight = torch.stack([F.pad(weight, (0, longest - len(weight))) for _, weight in chosen])
    kept = tuple(
        F.normalize(take_cells(pool_cells(level.flatten(2), shots), index), dim=1)
        for level in coarse
    )
    fine_height, fine_width = fine.shape[-2:]
    fine_share = pool_cells(mask_to_share(masks.float(), (fine_height, fine_width)), shots)
    return CorrelationSupport(
        levels=kept,
        share=share.gather(1, index),
        weight=weight,
        fine_means=_means(
            F.normalize(pool_cells(fine.flatten(2), shots), dim=1), fine_share[:, None]
        ),
    )


def prepare_query(levels: Sequence[Tensor]) -> CorrelationQuery:
    """Scale the cells of B pictures: maps (B, C, h, w) of the backbone, the finest first."""
    fine, *coarse = (F.normalize(level, dim=1) for level in levels)
    return CorrelationQuery(levels=tuple(coarse), fine=fine)


def choose_cells(share: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the cells of a task that queries are compared with.

    Args:
        share: Share of foreground in each cell (n,), 0 … 1.

    Returns:
        Indices of the cells, at most 784 of the foreground and 784 others, and the number of cells
        that each stands for.
    """
    inside = share >= _foreground_from(share)
    parts = [group.nonzero()[:, 0] for group in (inside, ~inside)]
    kept = [_spread(part) for part in parts]
    weights = [
        torch.full((len(few),), len(part) / max(1, len(few)), device=share.device)
        for few, part in zip(kept, parts, strict=True)
    ]
    return torch.cat(kept), torch.cat(weights)


def similarity_maps(
    support: CorrelationSupport, task: int, query: CorrelationQuery, picture: int
) -> Tensor:
    """Compare one query picture with one task's support, at each coarse level.

    Args:
        support: Support of S tasks.
        task: Index of the task.
        query: Query levels of B pictures.
        picture: Index of the picture.

    Returns:
        Maps (levels · 6, h, w): cosine to the foreground's and to the background's prototype,
        largest cosine to a foreground cell and to a background cell, the difference of the first
        two (all in -2 … 2), and the support's mask transferred by attention (0 … 1).
    """
    kept = support.weight[task] > 0
    share, weight = support.share[task][kept], support.weight[task][kept]
    inside = share >= _foreground_from(share)
    outside = share <= BACKGROUND_SHARE if (share <= BACKGROUND_SHARE).any() else ~inside
    outside = outside if outside.any() else inside  # a mask that covers all
    maps = []
    for level, cells in zip(support.levels, query.levels, strict=True):
        theirs, ours = level[task][:, kept], cells[picture].flatten(1)  # (C, n), (C, L)
        means = _means(theirs[None], share[None, None], weight)[0] @ ours  # (2, L)
        cosines = ours.mT @ theirs  # (L, n)
        nearest = [cosines[:, part].amax(1) for part in (inside, outside)]
        attention = ((cosines - 1) * SHARPNESS).exp_() * weight
        carried = attention @ share / attention.sum(1)
        maps += [means[0], means[1], *nearest, means[0] - means[1], carried]
    return torch.stack(maps).unflatten(1, query.levels[0].shape[-2:])


@torch.no_grad()
def own_maps(levels: Sequence[Tensor], estimate: Tensor) -> Tensor:
    """Compare the query with its own estimated foreground and background.

    Args:
        levels: Cells (S, C, h, w) of length 1 at each level.
        estimate: Mask (S, 1, h, w) in 0 … 1.

    Returns:
        Maps (S, levels · 3 + 2, h, w): cosine to its own foreground and background, their
        difference; and the estimate transferred by the attention of two levels.
    """
    shown = estimate.flatten(2)  # (S, 1, L)
    maps = []
    for level in levels:
        cells = level.flatten(2)
        like = prototypes(cells, shown) @ cells  # (S, 2, L)
        maps += [like[:, 0], like[:, 1], like[:, 0] - like[:, 1]]
    for number in SELF_ATTENTION:
        carried = []
        for cells, mask in zip(levels[number].flatten(2), shown[:, 0], strict=True):
            attention = ((cells.mT @ cells - 1) * SHARPNESS).exp_()
            carried.append(attention @ mask / attention.sum(1))
        maps.append(torch.stack(carried))
    return torch.stack(maps, 1).unflatten(2, estimate.shape[-2:])


def prototypes(cells: Tensor, shown: Tensor) -> Tensor:
    """Average certain foreground and background: cells (S, C, L), mask (S, 1, L) → (S, 2, C)."""
    weights = torch.cat([shown, 1 - shown], 1).square()
    return F.normalize(weights @ cells.mT, dim=2)


def pool_hidden(hidden: Tensor, mask_logits: Tensor) -> Tensor:
    """Pool (S, C, h, w) under a mask, everywhere, at its maximum and where the mask is largest.

    Returns:
        Pooled values (S, 4·C + 2), the last two being the mask's largest logit and its mean.
    """
    cells, logits = hidden.flatten(2), mask_logits.flatten(2)
    shown, surest = logits.sigmoid(), logits.softmax(2)
    return torch.cat(
        [
            (cells * shown).sum(2) / (shown.sum(2) + 1e-3),
            cells.mean(2),
            cells.amax(2),
            (cells * surest).sum(2),
            logits.amax(2),
            shown.mean(2),
        ],
        1,
    )


def _means(cells: Tensor, share: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Average fore- and background: cells (S, C, n), share (S, 1, n) → (S, 2, C) of length 1."""
    weights = torch.cat([share, 1 - share], 1) * weight
    return F.normalize(weights @ cells.mT, dim=2)


def _foreground_from(share: Tensor) -> Tensor:
    """Return the share from which on cells count as foreground; at least one cell does."""
    return (share.max() * 0.999).clamp(max=FOREGROUND_SHARE)


def _spread(index: Tensor) -> Tensor:
    """Keep at most 784 of the indices, evenly."""
    if len(index) <= MOST_CELLS:
        return index
    return index[torch.arange(MOST_CELLS, device=index.device) * len(index) // MOST_CELLS]
