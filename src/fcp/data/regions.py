"""Regions of all kinds, for the class-agnostic training of a promptable segmenter.

Three sources: bottom-up hierarchies on any picture (Felzenszwalb & Huttenlocher 2004 leaves, merged
by Ward's criterion over colour and backbone features: parts, then wholes), human-drawn regions
(BSDS500) and object masks (VOC).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

_FELZENSZWALB = {"scale": 50.0, "sigma": 0.5, "min_size": 80}
_ALIKE = 8  # number of nodes nearest to a wanted area among which one is drawn
_LEAST_FILL = 0.4
_COLOUR_UNIT = 20.0  # Lab units that weigh as much as one unit of features

Labels = NDArray[np.integer]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RegionTree:
    """A hierarchy of regions over one picture.

    Attributes:
        leaves: Leaf index 0 … n-1 of each pixel, (H, W).
        children: Nodes that each merge joins, (n-1, 2): merge i makes node n+i; leaves are nodes 0
            … n-1.
    """

    leaves: NDArray[np.uint16]
    children: NDArray[np.int32]

    def members(self) -> Mask:
        """Return (2n-1, n) bool: whether node i contains leaf j."""
        count = len(self.children) + 1
        member = np.zeros((2 * count - 1, count), dtype=bool)
        member[:count] = np.eye(count, dtype=bool)
        for index, (left, right) in enumerate(self.children):
            member[count + index] = member[left] | member[right]
        return member


def build_region_tree(image: NDArray[np.uint8], features: NDArray[np.float32]) -> RegionTree:
    """Split a picture into small uniform pieces and merge neighbours, the most similar first.

    Args:
        image: Picture (H, W, 3) RGB.
        features: Backbone features (D, H/2, W/2) resized to half size, scaled so that one unit
            weighs as much as one standard deviation of colour.
    """
    from skimage.color import rgb2lab
    from skimage.segmentation import felzenszwalb
    from sklearn.cluster import ward_tree

    leaves = felzenszwalb(image, **_FELZENSZWALB).astype(np.uint16)
    count = int(leaves.max()) + 1
    if count < 2:
        return RegionTree(leaves, np.zeros((0, 2), dtype=np.int32))
    colour = rgb2lab(image).transpose(2, 0, 1) / _COLOUR_UNIT
    described = np.concatenate(
        [_mean_per_label(colour, leaves, count), _mean_per_label(features, leaves[::2, ::2], count)]
    )
    children, _, _, _ = ward_tree(described.T, connectivity=_adjacency(leaves, count))
    return RegionTree(leaves, children.astype(np.int32))


def draw_tree_regions(
    tree: RegionTree, crop: Labels, rng: np.random.Generator, count: int
) -> list[Mask]:
    """Draw nodes of the tree that cover neither a tiny part nor all of a crop of its leaf map.

    Areas are drawn evenly on a logarithmic scale, so that parts and wholes are both common; among
    nodes of about that area, one that fills its box well is taken, since people rarely annotate a
    frame around another object.

    Args:
        tree: Region hierarchy of the whole picture.
        crop: Leaf indices (h, w) of a crop.
        rng: Random generator of the draw.
        count: Largest number of regions.

    Returns:
        Up to ``count`` masks (h, w).
    """
    leaf_area = np.bincount(crop.ravel(), minlength=len(tree.children) + 1)
    member = tree.members()
    area = member @ leaf_area / crop.size
    allowed = np.flatnonzero((area > 0.004) & (area < 0.7))
    chosen: list[Mask] = []
    for wanted in np.exp(rng.uniform(np.log(0.008), np.log(0.6), size=count)):
        if len(allowed) == 0:
            break
        nearest = allowed[np.argsort(np.abs(np.log(area[allowed] / wanted)))[:_ALIKE]]
        masks = [member[node][crop] for node in nearest]
        solid = [mask for mask in masks if box_fill(mask) >= _LEAST_FILL] or masks
        chosen.append(solid[rng.integers(len(solid))])
    return chosen


def tight_box(mask: Mask) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of a mask in px, the last two exclusive; the mask is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_fill(mask: Mask) -> float:
    """Return the share of its tight box that a mask covers; the mask is not empty."""
    x0, y0, x1, y1 = tight_box(mask)
    return float(mask.sum() / ((y1 - y0) * (x1 - x0)))


def draw_label_regions(
    labels: Labels, rng: np.random.Generator, count: int, *, background: tuple[int, ...] = ()
) -> list[Mask]:
    """Draw regions of a label map: a whole label, or one connected component of it.

    Args:
        labels: Region or class ids (h, w).
        rng: Random generator of the draw.
        count: Largest number of regions.
        background: Ids that are not regions.
    """
    ids, areas = np.unique(labels, return_counts=True)
    usable = [
        i
        for i, a in zip(ids, areas, strict=True)
        if i not in background and a > 0.004 * labels.size
    ]
    chosen: list[Mask] = []
    for _ in range(count if usable else 0):
        mask = labels == rng.choice(usable)
        if rng.random() < 0.5:
            mask = _one_component(mask, rng)
        if 0.003 < mask.mean() < 0.9:
            chosen.append(mask)
    return chosen


def map_features(
    encode: Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]], image: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Resize backbone maps to half the picture's size; each level has a total weight of one unit.

    Args:
        encode: Function that maps a picture (H, W, 3) to maps (D, h, w) of several strides.
        image: Picture (H, W, 3) RGB.

    Returns:
        (sum of D, H/2, W/2).
    """
    size = ((image.shape[0] + 1) // 2, (image.shape[1] + 1) // 2)
    scaled = []
    for level in encode(image):
        deviation = level.std(axis=(1, 2), keepdims=True) + 1e-6
        unit = (level - level.mean(axis=(1, 2), keepdims=True)) / deviation / np.sqrt(len(level))
        scaled.append(_resize_nearest(unit, size))
    return np.concatenate(scaled)


def _resize_nearest(level: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    rows = np.arange(size[0]) * level.shape[1] // size[0]
    columns = np.arange(size[1]) * level.shape[2] // size[1]
    return level[:, rows[:, None], columns]


def _mean_per_label(maps: NDArray[np.floating], labels: Labels, count: int) -> NDArray[np.floating]:
    flat = labels.ravel()
    area = np.maximum(np.bincount(flat, minlength=count), 1)
    sums = [np.bincount(flat, weights=channel.ravel(), minlength=count) for channel in maps]
    return np.stack(sums) / area


def _adjacency(labels: Labels, count: int) -> scipy.sparse.csr_array:
    from scipy.sparse import csr_array

    first = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()]).astype(np.int64)
    second = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()]).astype(np.int64)
    edges = np.unique(np.stack([first, second])[:, first != second], axis=1)
    ones = np.ones(edges.shape[1], dtype=np.int8)
    graph = csr_array((ones, (edges[0], edges[1])), shape=(count, count))
    return graph + graph.T


def _one_component(mask: Mask, rng: np.random.Generator) -> Mask:
    components, _ = scipy.ndimage.label(mask)
    areas = np.bincount(components.ravel())[1:]
    large = np.flatnonzero(areas > 0.004 * mask.size) + 1
    return components == rng.choice(large) if len(large) else mask
