"""INSID3's last step [10]: a dense two-class CRF moves the border of a mask to the picture's edges.

The paper uses it, the authors' program leaves it off by default, and so do we. Their kernels' scale
is not published; here each row of a kernel sums to 1.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fcp.method.lattice import Lattice

RADIUS = 5  # px of the disc that makes the band
SURE, OPEN = 0.95, 0.5  # foreground probability inside the band's inner edge, and in the band
SPATIAL_SIGMA, SPATIAL_WEIGHT = 4.0, 3.0  # px at a side of 512
BILATERAL_SIGMA, COLOUR_SIGMA, BILATERAL_WEIGHT = 12.0, 0.03, 20.0
ROUNDS = 10


def refine(mask: Tensor, picture: Tensor) -> Tensor:
    """Move a mask's border.

    Args:
        mask: (S, S) boolean.
        picture: (3, S, S) RGB in 0 … 1.

    Returns:
        (S, S) boolean; only pixels of the band around the border differ.
    """
    before = mask.cpu().numpy()
    inner, outer = border_band(before)
    band = outer ^ inner
    if not band.any():
        return mask
    probability = np.where(inner, SURE, np.where(band, OPEN, 1 - SURE))
    logit = np.log(probability / (1 - probability))
    foreground = mean_field(logit, picture.cpu().numpy()) > 0.5
    return torch.from_numpy(np.where(band, foreground, before)).to(mask.device)


def border_band(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return erosion and dilation of a mask by a disc; outside the picture counts as background."""
    at = np.arange(-RADIUS, RADIUS + 1)
    disc = at[:, None] ** 2 + at**2 <= RADIUS**2
    return (
        ndimage.binary_erosion(mask, disc, border_value=0),
        ndimage.binary_dilation(mask, disc, border_value=0),
    )


def mean_field(logit: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Iterate x ← projection onto the simplex of u + 3·K_s x + 20·K_b x, u = (-logit, +logit).

    With two classes whose x sum to 1, class 1 alone is kept: its projection is
    clip((v₁ - v₀ + 1) / 2, 0, 1).

    Args:
        logit: (S, S) of the foreground.
        picture: (3, S, S) RGB in 0 … 1.

    Returns:
        x₁ (S, S) after ten rounds.
    """
    scale = logit.shape[0] / 512
    rows, columns = np.indices(logit.shape)
    place = np.stack([rows, columns]) / (BILATERAL_SIGMA * scale)
    features = np.concatenate([place, picture / COLOUR_SIGMA]).reshape(5, -1).T
    lattice = Lattice(features)
    bilateral_total = lattice.filter(np.ones(logit.size))
    spatial_sigma = SPATIAL_SIGMA * scale
    spatial_total = _spatial(np.ones_like(logit), spatial_sigma)
    x = 1 / (1 + np.exp(-2 * logit))  # softmax of u
    for _ in range(ROUNDS):
        near = _spatial(x, spatial_sigma) / spatial_total
        alike = (lattice.filter(x.ravel()) / bilateral_total).reshape(x.shape)
        # K x₀ = 1 - K x₁, so the difference of the two classes is 2·K x₁ - 1.
        gap = 2 * logit + SPATIAL_WEIGHT * (2 * near - 1) + BILATERAL_WEIGHT * (2 * alike - 1)
        x = np.clip((gap + 1) / 2, 0, 1)
    return x


def _spatial(values: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(values, sigma, mode="constant")
