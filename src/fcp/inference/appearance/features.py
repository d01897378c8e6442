"""Pixel features: colour and simple filters, at several scales.

Each scale is computed on a picture no larger than it needs. Maps of different sizes cover the same
picture from edge to edge; ``read_at`` reads them at any position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fcp.data.transforms import to_canvas

LONGER_SIDE = 384  # px of the picture that is filtered
# Standard deviations of the filters in px, by the number of times that the picture is halved.
SCALES = ((1.0, 2.0), (2.0,), (2.0,))
WIDE = (2.0, 4.0)  # on a picture that is halved three times: illumination, not the object
WIDE_HALVINGS = 3
TRUNCATE = 3.0


@dataclass(frozen=True)
class Layer:
    """Some maps of a picture, and the penalty of their weights.

    Attributes:
        maps: Feature maps (C, h, w), float32.
        penalty: Penalty of each squared weight; the coarser the maps, the higher.
    """

    maps: Tensor
    penalty: float


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (h, w) that a picture of size (H, W) is filtered at."""
    scale = LONGER_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def filter_picture(picture: np.ndarray) -> list[Tensor]:
    """Filter a picture.

    Args:
        picture: RGB picture (H, W, 3), uint8.

    Returns:
        Maps (C, h, w), (C', h', w') …, the first at ``working_size`` and the others smaller.
    """
    colours = to_canvas(picture, working_size(picture.shape[:2])).float() / 255
    levels = [colours]
    for _ in range(WIDE_HALVINGS):
        levels.append(_halved(levels[-1]))
    found = [
        torch.from_numpy(np.concatenate([_filters(level.numpy(), sigma) for sigma in sigmas]))
        for level, sigmas in zip(levels, SCALES, strict=False)
    ]
    size = (colours.shape[1], colours.shape[2])
    wide = [_enlarged(_blurred(levels[-1].numpy(), sigma), size) for sigma in WIDE]
    first = [_tints(colours), found[0], *(colours - light for light in wide)]
    return [torch.cat(first), *found[1:]]


def read_at(maps: Tensor, places: Tensor) -> Tensor:
    """Read maps between their cells, bilinear.

    Args:
        maps: Maps to read (C, h, w).
        places: Positions x, y (n, 2) as fractions 0 … 1 of width and height.

    Returns:
        Values (n, C).
    """
    grid = (2 * places - 1)[None, None].to(maps.dtype)
    read = F.grid_sample(maps[None], grid, padding_mode="border", align_corners=False)
    return read[0, :, 0].T


def penalties_of(layers: Sequence[Layer]) -> Tensor:
    """Return the penalty of each feature, (D,)."""
    return torch.cat([torch.full((len(one.maps),), one.penalty) for one in layers])


def _filters(colours: np.ndarray, sigma: float) -> np.ndarray:
    """Return blur, edges, blobs and ridges, texture of a picture (3, h, w): (9, h, w)."""
    blur = _blurred(colours, sigma)
    light, grey = blur.mean(0), colours.mean(0)
    dy, dx = (sigma * slope for slope in _slopes(light))
    (yy, yx), (_, xx) = (tuple(sigma * s for s in _slopes(slope)) for slope in (dy, dx))
    products = _blurred(np.stack([dy * dy, dy * dx, dx * dx]), 1.5 * sigma)
    deviation = np.sqrt(np.maximum(_blurred(grey[None] ** 2, sigma)[0] - light**2, 0))
    return np.concatenate(
        [
            blur,
            np.hypot(dy, dx)[None],
            _eigenvalues(yy, yx, xx),
            np.sqrt(np.maximum(_eigenvalues(*products), 0)),
            deviation[None],
        ]
    )


def _tints(colours: Tensor) -> Tensor:
    """Return a picture (3, h, w) and its colours without brightness as maps (6, h, w)."""
    logs = (colours + 0.05).log()
    chroma = colours.amax(0) - colours.amin(0)
    return torch.cat([colours, logs[:1] - logs[1:2], logs[1:2] - logs[2:], chroma[None]])


def _slopes(values: np.ndarray) -> list[np.ndarray]:
    """Return central differences of (h, w) along y and x; 0 along an axis of one pixel."""
    return [
        np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)
        for axis in (0, 1)
    ]


def _eigenvalues(yy: np.ndarray, yx: np.ndarray, xx: np.ndarray) -> np.ndarray:
    """Return the larger and the smaller eigenvalue of 2×2 matrices at each pixel: (2, h, w)."""
    middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    return np.stack([middle + half, middle - half])


def _blurred(maps: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(maps, (0, sigma, sigma), mode="mirror", truncate=TRUNCATE)


def _halved(colours: Tensor) -> Tensor:
    size = [max(1, (side + 1) // 2) for side in colours.shape[1:]]
    return F.interpolate(colours[None], size, mode="bilinear", antialias=True)[0]


def _enlarged(maps: np.ndarray, size: tuple[int, int]) -> Tensor:
    return F.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear")[0]
