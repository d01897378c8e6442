"""A residual convolution block that mixes neighbouring cells."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MixBlock(nn.Module):
    """Residual block: depthwise 5×5 convolution, then a pointwise bottleneck of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.reduce = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        return x + self.reduce(F.gelu(self.expand(self.norm(self.spatial(x)))))
