"""Resizing between a picture's own size and the square of the models, in both directions.

Pictures are squashed, not letter-boxed (method, section 1). Sampling is by pixel centres
(``align_corners=False``) in both directions, so that the two directions match.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fcp.config import IGNORE
from fcp.layers.masked import mask_to_grid


def to_square(image: np.ndarray, size: int) -> Tensor:
    """Squash a picture to a square, bilinear with antialiasing.

    Args:
        image: Picture (H, W, 3) uint8 RGB.
        size: Side S of the square in px.

    Returns:
        (3, S, S) float32 RGB in 0 … 1.
    """
    return to_canvas(image, (size, size)).float() / 255


def to_canvas(image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Resize a picture, bilinear with antialiasing.

    Args:
        image: Picture (H, W, 3) uint8 RGB.
        size: Size (H', W') of the result.

    Returns:
        (3, H', W') uint8 RGB.
    """
    own = torch.from_numpy(image) if image.flags.writeable else torch.tensor(image)  # or it warns
    pixels = own.permute(2, 0, 1)[None]  # (1, 3, H, W) uint8, channels last
    return functional.interpolate(pixels, size, mode="bilinear", antialias=True)[0]


def mask_to_square(mask: np.ndarray, size: int) -> Tensor:
    """Squash a mask to a square by nearest neighbour: row i reads row floor(i·H/S).

    Args:
        mask: Mask (H, W) bool.
        size: Side S of the square in px.

    Returns:
        (S, S) float32, 0 or 1.
    """
    pixels = torch.tensor(mask, dtype=torch.float32)[None, None]
    return functional.interpolate(pixels, (size, size), mode="nearest")[0, 0]


def support_to_square(mask: np.ndarray, size: int) -> Tensor:
    """Squash an example's mask as ``mask_to_square`` does, but never to an empty one.

    Of a mask that would vanish, every pixel of the square that it touches is set.

    Args:
        mask: Mask (H, W) bool.
        size: Side S of the square in px.

    Returns:
        (S, S) float32, 0 or 1; not empty unless the mask is.
    """
    square = mask_to_square(mask, size)
    if square.any():
        return square
    return mask_to_grid(torch.tensor(mask)[None], (size, size))[0].float()


def squash_truth(
    wanted: np.ndarray, ignored: np.ndarray, size: int, *, never_empty: bool = False
) -> Tensor:
    """Squash a mask and the pixels whose truth is unknown, both (H, W) bool: (S, S) 0, 1 or 255.

    Args:
        wanted: Mask of the object.
        ignored: Pixels whose truth is unknown.
        size: Side S of the square, px.
        never_empty: Whether each pixel that a vanishing object touches is set, as in an example.
    """
    truth = (support_to_square if never_empty else mask_to_square)(wanted, size)
    truth[(mask_to_square(ignored, size) > 0) & (truth == 0)] = IGNORE
    return truth


def map_to_size(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map (H', W') of logits or probabilities to (H, W), bilinear."""
    if values.shape == size:
        return values
    return functional.interpolate(
        values[None, None].float(), size, mode="bilinear", align_corners=False
    )[0, 0]


def rows_to_size(values: Tensor, size: tuple[int, int], top: int, bottom: int) -> Tensor:
    """Return rows ``top`` … ``bottom`` - 1 of ``map_to_size`` without computing the others.

    Args:
        values: Map (H', W') float.
        size: Size (H, W) of the whole result.
        top: First row wanted, 0 … H - 1.
        bottom: End of the rows wanted, at most H.

    Returns:
        (bottom - top, W).
    """
    height, width = size
    wanted = torch.arange(top, bottom, dtype=torch.float32, device=values.device)
    places = ((wanted + 0.5) * len(values) / height - 0.5).clamp(min=0)
    above = places.long().clamp(max=len(values) - 1)
    below = (above + 1).clamp(max=len(values) - 1)
    rows = torch.lerp(values[above], values[below], (places - above)[:, None])
    return functional.interpolate(rows[None], width, mode="linear", align_corners=False)[0]
