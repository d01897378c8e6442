"""A connected piece of a mask → objects that touch: a watershed of the distance to its edge.

Each pixel climbs the distance transform to a summit. Summits are joined again where the pass
between them is nearly as high as the lower one (the dynamics of the h-maxima, as a ratio, so that
size does not matter). A piece is split only where the parts are rounder than the whole: their
largest discs have to cover much of it, and where the passes are high the parts have to be convex.
Round things that touch (cells, coins, fruit) have such parts; the limbs of an animal are parted
from it by low passes too, but no disc fills them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, pi

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter
from scipy.spatial import ConvexHull

from fcp.data.pieces import Piece, tight_piece

MOST = 1 << 21  # px of a piece at once; a larger one is reduced
SMOOTHED = 1.0  # px; single pixels of an edge make no summit


@dataclass(frozen=True)
class Rule:
    """When two summits are two objects, and when such objects are believed.

    The values were chosen on drawn cells, COCO's objects and single objects (docs/instances.md).

    Attributes:
        neck: Largest height of the pass between two summits, as a share of the lower summit.
        least: Smallest height of the lower summit, as a share of the higher one.
        filled: Smallest share of the piece that the largest discs of its parts cover.
        solid: Smallest solidity of the parts (``solidity``), mean over their pixels.
    """

    neck: float
    least: float
    filled: float
    solid: float = 0.0


RULES = (Rule(0.5, 0.5, 0.4), Rule(0.8, 0.4, 0.6, 0.9), Rule(0.95, 0.4, 0.6, 0.9))
GAIN = 0.15  # by which the parts' discs cover more than the whole's


def touching_objects(piece: Piece, least: float = 0) -> Iterator[Piece]:
    """Yield the objects of a connected piece; together they have all of its pixels, each once.

    Args:
        piece: Piece to split.
        least: Smallest area of an object, px; a smaller one stays with its neighbour.
    """
    step = ceil((piece.mask.size / MOST) ** 0.5)
    labels = split_mask(piece.mask[::step, ::step], least / step**2)
    if labels.max() < 2:
        yield piece
        return
    if step > 1:  # pixels between those that were looked at
        nearest = distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
        labels = labels[tuple(nearest)]
    x0, y0, _, _ = piece.box
    for label, (rows, columns) in enumerate(find_objects(labels), start=1):
        top, left = rows.start * step, columns.start * step
        part = piece.mask[top : rows.stop * step, left : columns.stop * step]
        own = (labels[rows, columns] == label).repeat(step, 0).repeat(step, 1)
        yield tight_piece(
            part & own[: part.shape[0], : part.shape[1]], (x0 + left, y0 + top), piece.size
        )


def split_mask(mask: np.ndarray, least: float = 0) -> np.ndarray:
    """Label the objects of a mask that is one piece, by the best of ``RULES``.

    Args:
        mask: Mask (H, W) bool.
        least: Smallest area of an object, px.

    Returns:
        (H, W) int32: 0 outside the mask, 1 … for the objects.
    """
    inside = np.pad(mask, 1)
    height = distance_transform_edt(inside)
    most = height.max(initial=0)
    whole = _covered(np.array([most]), mask)
    if whole + GAIN > 1 or most <= 2 * SMOOTHED:  # round by itself, or a line
        return mask.astype(np.int32)
    height = gaussian_filter(height, SMOOTHED) * inside
    basins, summits = climb(height, inside)
    relief = Relief.of(basins, height, summits)
    best, covered = mask.astype(np.int32), whole
    for rule in RULES:
        parts = relief.joined(rule, least)
        peaks = np.zeros(len(summits))
        np.maximum.at(peaks, parts, relief.peaks)
        now = _covered(peaks, mask)
        if now < max(rule.filled, whole + GAIN) or now <= covered:
            continue
        names = np.unique(parts, return_inverse=True)[1].astype(np.int32) + 1
        labels = np.where(mask, names[basins[1:-1, 1:-1]], 0).astype(np.int32)
        if _solidity_of_parts(labels) >= rule.solid:
            best, covered = labels, now
    return best


def _solidity_of_parts(labels: np.ndarray) -> float:
    """Return the solidity of the parts of a piece (H, W), numbered from 1: mean over its pixels."""
    masks = [labels[box] == number for number, box in enumerate(find_objects(labels), start=1)]
    areas = [np.count_nonzero(mask) for mask in masks]
    return float(np.average([solidity(mask) for mask in masks], weights=areas))


def solidity(mask: np.ndarray) -> float:
    """Return the share of a mask's convex hull that it fills, 0 … 1; it has at least one pixel."""
    rows = np.flatnonzero(mask.any(1))
    left, right = mask[rows].argmax(1), mask.shape[1] - mask[rows, ::-1].argmax(1)
    corners = [np.stack([row, side], 1) for row in (rows, rows + 1) for side in (left, right)]
    hull = ConvexHull(np.concatenate(corners))
    return float(np.count_nonzero(mask) / hull.volume)  # of a plane's hull this is its area


def _covered(peaks: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of a mask that discs of these radii cover; a radius of 0 is none."""
    return float(pi * (peaks**2).sum() / max(1, np.count_nonzero(mask)))


def climb(height: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let each pixel climb to a summit by its highest neighbours.

    Args:
        height: Height (H, W) ≥ 0.
        inside: Mask (H, W) bool that does not touch the edge of the array.

    Returns:
        Number of each pixel's summit (H, W), 0 outside; and the place of each summit in the
        flattened map.
    """
    flat, width = height.ravel(), height.shape[1]
    own = np.flatnonzero(inside)
    highest, above = flat[own], own.copy()
    for step in (-width - 1, -width, 1 - width, -1, 1, width - 1, width, width + 1):
        there = flat[own + step]
        higher = there > highest
        highest[higher] = there[higher]
        above[higher] = own[higher] + step
    place = np.zeros(flat.size, np.int64)
    place[own] = np.arange(len(own))
    above = place[above]
    while not np.array_equal(above, further := above[above]):
        above = further
    summits, numbers = np.unique(above, return_inverse=True)
    basins = np.zeros(flat.size, np.int64)
    basins[own] = numbers
    return basins.reshape(height.shape), own[summits]


@dataclass(frozen=True, eq=False)
class Relief:
    """Summits and the passes between their basins.

    Attributes:
        peaks: Height of each summit (S,).
        areas: Area of each basin (S,), px.
        pairs: Summits on both sides of each pass (P, 2).
        passes: Height of each pass (P,), the highest first.
    """

    peaks: np.ndarray
    areas: np.ndarray
    pairs: np.ndarray
    passes: np.ndarray

    @classmethod
    def of(cls, basins: np.ndarray, height: np.ndarray, summits: np.ndarray) -> Relief:
        """Find the passes: the highest pixel pair on the border of two basins.

        Args:
            basins: Number of each pixel's summit (H, W).
            height: Height (H, W), 0 outside the mask.
            summits: Place of each summit in the flattened map.
        """
        count, keys, heights = len(summits), [], []
        for one, other in _neighbours(basins.shape):
            low = np.minimum(height[one], height[other])
            border = (basins[one] != basins[other]) & (low > 0)
            a, b = basins[one][border], basins[other][border]
            keys.append(np.minimum(a, b) * count + np.maximum(a, b))
            heights.append(low[border])
        pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
        passes = np.zeros(len(pairs))
        np.maximum.at(passes, place, np.concatenate(heights))
        order = np.argsort(-passes, kind="stable")
        areas = np.bincount(basins[height > 0], minlength=count)
        both = np.stack(np.divmod(pairs, count), axis=1)
        return cls(height.ravel()[summits], areas, both[order], passes[order])

    def joined(self, rule: Rule, least: float) -> np.ndarray:
        """Join summits that a rule takes for one object; the result names one summit of each (S,).

        Args:
            rule: Rule that decides.
            least: Smallest area of an object, px.
        """
        parent, peaks, areas = (
            list(range(len(self.peaks))),
            self.peaks.tolist(),
            self.areas.tolist(),
        )

        def top(summit: int) -> int:
            while parent[summit] != summit:
                parent[summit] = parent[parent[summit]]
                summit = parent[summit]
            return summit

        for pair, height in zip(self.pairs.tolist(), self.passes.tolist(), strict=True):
            low, high = sorted(map(top, pair), key=lambda summit: (peaks[summit], -summit))
            is_shallow = height > rule.neck * peaks[low] or peaks[low] < rule.least * peaks[high]
            if low != high and (is_shallow or min(areas[low], areas[high]) < least):
                parent[low] = high
                areas[high] += areas[low]
        return np.array([top(summit) for summit in range(len(parent))], np.int64)


def _neighbours(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, slice], ...]]:
    """Yield slices of a map for its pixels and for their neighbours: right, below, diagonally."""
    all_but_last, all_but_first = slice(0, -1), slice(1, None)
    everything = slice(None)
    yield (everything, all_but_last), (everything, all_but_first)
    yield (all_but_last, everything), (all_but_first, everything)
    yield (all_but_last, all_but_last), (all_but_first, all_but_first)
    yield (all_but_last, all_but_first), (all_but_first, all_but_last)
