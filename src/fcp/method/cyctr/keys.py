"""Which support cells the query may read: as many of the object as of the rest (table1.md §5).

Letters: B batch, K shots, h w grid, L = h·w, n keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

KEYS_PER_SHOT = 300

# Chooses some of a number of cells: ``draw(cells, chosen)`` → indices (chosen,).
Draw = Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Keys:
    """The support cells that queries read.

    Attributes:
        index: (B, n) places among the K·L support cells.
        labels: (B, n) True for the object.
        padded: (B, n) True where the picture has no pixels.
    """

    index: Tensor
    labels: Tensor
    padded: Tensor


def grid_labels(cells: Tensor) -> Tensor:
    """Label cells (S, 1, h, w) 0 or 1 so that each picture has both kinds: (S, h, w) boolean.

    Without any object the middle 2×2 cells become it; without any rest the four corners do.
    """
    labels = cells[:, 0] > 0
    h, w = labels.shape[1:]
    middle, corners = torch.zeros_like(labels[0]), torch.zeros_like(labels[0])
    middle[max(h // 2 - 1, 0) : h // 2 + 1, max(w // 2 - 1, 0) : w // 2 + 1] = True
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    empty = ~labels.any(2).any(1)[:, None, None]
    full = labels.all(2).all(1)[:, None, None]
    return (labels | (empty & middle)) & ~(full & corners)


def choose_keys(labels: Tensor, padded: Tensor, count: int, draw: Draw, *, released: bool) -> Keys:
    """Choose ``count`` cells of the object and as many of the rest, for each task.

    Where one kind has fewer, all of it is taken, and the other kind fills up.

    Args:
        labels: (B, K·L) True for the object.
        padded: (B, K·L).
        count: Wanted cells of each kind.
        draw: Chooses among the cells of a kind.
        released: Look labels and padding up at the wrong cells, as the authors' program does:
            of a kind that is not taken whole, at the place within the kind.
    """
    tasks = [_choose(ours, count, draw, released=released) for ours in labels]
    index = torch.stack([cells for cells, _ in tasks])
    read = torch.stack([where for _, where in tasks])
    return Keys(index, labels.gather(1, read), padded.gather(1, read))


def _choose(labels: Tensor, count: int, draw: Draw, *, released: bool) -> tuple[Tensor, Tensor]:
    """Choose cells of one task (K·L,); return them and the cells whose labels are looked up."""
    kinds = labels.nonzero()[:, 0], (~labels).nonzero()[:, 0]
    cells, read = [], []
    for kind, taken in zip(kinds, shares(len(kinds[0]), len(kinds[1]), count), strict=True):
        if taken == len(kind):
            chosen, looked_up = kind, kind
        else:
            places = draw(len(kind), taken).to(kind.device)
            chosen = kind[places]
            looked_up = places if released else chosen
        cells.append(chosen)
        read.append(looked_up)
    return torch.cat(cells), torch.cat(read)


def shares(objects: int, rest: int, count: int) -> tuple[int, int]:
    """Return how many cells of each kind are taken: 2·count in all, if there are so many."""
    if objects < count:
        return objects, min(rest, 2 * count - objects)
    if rest < count:
        return min(objects, 2 * count - rest), rest
    return count, count


def draw_evenly(cells: int, chosen: int) -> Tensor:
    """Choose at equal distances in reading order: the same at each call."""
    return torch.arange(chosen) * cells // chosen


def draw_randomly(cells: int, chosen: int) -> Tensor:
    """Choose by torch's global generator."""
    return torch.randperm(cells)[:chosen]
