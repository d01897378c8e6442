"""Steps common to all encoders: normalising and resizing pictures, and resizing masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fcp.layers.masked import mask_to_grid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STRIDE = 8  # px of the picture per grid cell, for every backbone


class Normalise(nn.Module):
    """Subtract a mean and divide by a deviation per channel; constants are not saved.

    Args:
        mean: Mean of each channel, for pictures in 0 … 1.
        std: Standard deviation of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise pictures (B, 3, H, W)."""
        return (images - self.mean) / self.std


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures (B, C, H, W) to ``size`` (rows, columns): bilinear, smoothed when shrunk."""
    if images.shape[-2:] == size:
        return images
    return functional.interpolate(images, size, mode="bilinear", antialias=True)


def grid_of(images: Tensor) -> tuple[int, int]:
    """Return the rows and columns of the stride-8 grid of pictures (B, 3, H, W)."""
    height, width = images.shape[-2:]
    return -(-height // STRIDE), -(-width // STRIDE)


def mask_like(mask: Tensor, features: Tensor) -> Tensor:
    """Convert masks (B, 1, H, W) of 0 and 1 to the grid and dtype of features (B, C, h, w)."""
    height, width = features.shape[-2:]
    return mask_to_grid(mask[:, 0], (height, width))[:, None].to(features.dtype)
