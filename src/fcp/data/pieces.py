"""A mask → its connected pieces; memory grows with their outlines, not with the mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fcp.data.strips import edges

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Piece:
    """A connected part of a mask.

    Attributes:
        box: Box (x0, y0, x1, y1) in px of the photo, ends exclusive.
        mask: Mask (y1 - y0, x1 - x0) bool, within the box.
        size: Size (H, W) of the photo.
    """

    box: Box
    mask: np.ndarray
    size: tuple[int, int]

    def full_mask(self) -> np.ndarray:
        """Return the mask (H, W) bool in the photo."""
        x0, y0, x1, y1 = self.box
        full = np.zeros(self.size, dtype=bool)
        full[y0:y1, x0:x1] = self.mask
        return full


def connected_pieces(mask: np.ndarray) -> Iterator[Piece]:
    """Yield the connected pieces of a mask (H, W) bool, by their first pixels, row by row.

    Pixels that meet at a corner are connected.
    """
    rows, starts, ends = _runs(mask)
    if len(rows) == 0:
        return
    piece_of = _joined(rows, starts, ends, mask.shape[1])
    order = np.argsort(piece_of, kind="stable")
    firsts = np.flatnonzero(np.diff(piece_of[order], prepend=-1))
    lasts = np.append(firsts[1:], len(order))
    # Runs are in row order, so the first run of a piece holds its first pixel.
    for index in np.argsort(order[firsts]):
        own = order[firsts[index] : lasts[index]]
        yield _piece(rows[own], starts[own], ends[own], (mask.shape[0], mask.shape[1]))


def tight_piece(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> Piece:
    """Return a part of a photo as a piece without empty edges.

    Args:
        mask: Mask (h, w) bool of the part, with at least one pixel.
        corner: Place (x, y) of its first pixel in the photo.
        size: Size (H, W) of the photo.
    """
    (x, y), rows, columns = corner, np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Piece((x + x0, y + y0, x + x1, y + y1), mask[y0:y1, x0:x1], size)


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, start and end (exclusive) of each run of foreground, row by row."""
    found = []
    for top, end in edges((mask.shape[0], mask.shape[1])):
        # Pillow writes True as 255, which a view would take for -1.
        bits = np.pad(mask[top:end], ((0, 0), (1, 1))).astype(np.int8)
        changes = np.diff(bits, axis=1)
        rows, starts = np.nonzero(changes == 1)
        found.append(np.stack([rows + top, starts, np.nonzero(changes == -1)[1]]))
    rows, starts, ends = np.concatenate(found, axis=1) if found else np.zeros((3, 0), np.int64)
    return rows, starts, ends


def _joined(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, width: int) -> np.ndarray:
    """Return each run's piece number: touching runs of neighbouring rows are of one piece."""
    step = width + 2
    below = (rows + 1) * step
    # Neighbours are the runs of the next row that end at or after this run's start and start at or
    # before its end.
    first = np.searchsorted(rows * step + ends, below + starts, side="left")
    last = np.searchsorted(rows * step + starts, below + ends, side="right")
    counts = np.maximum(last - first, 0)
    own = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    touching = np.repeat(first, counts) + within
    links = coo_array((np.ones(len(own), bool), (own, touching)), shape=(len(rows), len(rows)))
    pieces: np.ndarray = connected_components(links, directed=False)[1]
    return pieces


def _piece(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, size: tuple[int, int]) -> Piece:
    x0, x1, y0, y1 = int(starts.min()), int(ends.max()), int(rows[0]), int(rows[-1]) + 1
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    for row, start, end in zip(rows - y0, starts - x0, ends - x0, strict=True):
        mask[row, start:end] = True
    return Piece((x0, y0, x1, y1), mask, size)
