"""SAM's frame: the longest side to 1024 px, zeros right and below; and back to the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.encoders.pixels import IMAGENET_MEAN, IMAGENET_STD, resize
from fcp.method.free import down


@dataclass(frozen=True)
class PictureFrame:
    """Where a picture lies in SAM's square.

    Attributes:
        size: (H, W) px of the picture.
        side: Side (px) of the square, 1024.
    """

    size: tuple[int, int]
    side: int

    @property
    def inner(self) -> tuple[int, int]:
        """Rows and columns of the square that the picture fills."""
        scale = self.side / max(self.size)
        return int(self.size[0] * scale + 0.5), int(self.size[1] * scale + 0.5)

    def put(self, images: Tensor) -> Tensor:
        """Bring pictures (B, 3, H, W) in 0 … 1 into the square; the rest is 0 once normalised."""
        inner = resize(images, self.inner)
        colour = torch.tensor(IMAGENET_MEAN, device=images.device, dtype=images.dtype)
        square = colour.view(1, 3, 1, 1).expand(len(images), 3, self.side, self.side).clone()
        square[:, :, : inner.shape[2], : inner.shape[3]] = inner
        return square

    def take(self, maps: Tensor) -> Tensor:
        """Bring maps (S, h, w) of the square to the picture: ↓ side, padding cut, ↓ (H, W)."""
        rows, columns = self.inner
        return down(down(maps, (self.side, self.side))[:, :rows, :columns], self.size)

    def fractions(self, points: Tensor) -> Tensor:
        """Turn points (…, 2) x, y in px of the picture into fractions of the square."""
        rows, columns = self.inner
        scale = points.new_tensor([columns / self.size[1], rows / self.size[0]])
        return points * scale / self.side


def mask_cells(masks: Tensor, frame: PictureFrame, grid: tuple[int, int], red: int = 255) -> Tensor:
    """Bring support masks to the grid as the released program does, as colour pictures.

    The red channel goes through the picture's own resize, normalisation and padding, then ↓ grid; a
    cell counts where it is > 0. A mask that vanishes is the cell with the largest value.

    Args:
        masks: (K, H, W) 0 or 1.
        frame: Frame of the pictures.
        grid: (h, w).
        red: Value of the object in such a picture; 255, or 128 in the authors' data set.

    Returns:
        (K, h, w) boolean; a mask without foreground stays empty.
    """
    rows, columns = frame.inner
    painted = resize(masks.float()[:, None] * (red / 255), (rows, columns))[:, 0]
    normal = (painted - IMAGENET_MEAN[0]) / IMAGENET_STD[0]
    square = F.pad(normal, (0, frame.side - columns, 0, frame.side - rows))
    values = down(square, grid).flatten(1)
    cells = values > 0
    # Of the cells that the object touches at all, the largest.
    shares = down(F.pad(painted, (0, frame.side - columns, 0, frame.side - rows)), grid).flatten(1)
    largest = F.one_hot(shares.argmax(1), cells.shape[1]).bool()
    lost = ~cells.any(1) & masks.flatten(1).any(1)
    return torch.where(lost[:, None], largest, cells).unflatten(1, grid)
