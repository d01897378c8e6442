"""Changes to training pictures that both stages use: colours, and objects from other pictures."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

_SEAM = 0.6  # deviation in cells of the blur that softens a pasted contour


def jitter_colour(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast and saturation of (3, H, W) in 0 … 1; sometimes drop colour."""
    brightness, contrast, saturation = rng.uniform(0.65, 1.35, size=3).tolist()
    if rng.random() < 0.1:
        saturation = 0.0
    grey = pixels.mean(0, keepdim=True)
    pixels = grey + (pixels - grey) * saturation
    return ((pixels - pixels.mean()) * contrast + pixels.mean() * brightness).clamp(0, 1)


def paste(pixels: Tensor, foreign: Tensor, shape: NDArray[np.bool_]) -> Tensor:
    """Put the part of another picture under ``shape`` (h, w) over a picture (3, H, W).

    The seam is blurred by about a pixel, so that it looks no sharper than other contours.
    """
    soft = scipy.ndimage.gaussian_filter(shape.astype(np.float32), _SEAM)
    alpha = F.interpolate(torch.from_numpy(soft)[None, None], pixels.shape[-2:], mode="bilinear")
    return pixels + alpha[0] * (foreign - pixels)


def draw_quadrilateral(side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw a four-cornered shape (side, side): a box whose corners are moved by up to a fifth."""
    size = rng.uniform(0.15, 0.75, size=2)
    corner = rng.uniform(-0.1, 1.1 - size)
    unit = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) + rng.uniform(-0.2, 0.2, size=(4, 2))
    corners = (corner + unit * size) * side
    canvas = Image.new("1", (side, side))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in corners], fill=1)
    return np.array(canvas)
