"""Base learner: a PSPNet (arXiv 1612.01105) of the base classes, which BAM and HDMNet freeze.

It is trained by itself, before them (table1.md §3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcp.encoders.base import Backbone
from fcp.layers.grid import on_grid
from fcp.layers.pool import mean_pool
from fcp.method.parts import cross_entropy, grid_of

BINS = (1, 2, 3, 6)
PYRAMID_WIDTH = 512


class PooledConv(nn.Module):
    """Mean over a few large cells, 1×1 convolution, batch norm, ReLU; resized back.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        side: Number of cells along a side.
    """

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, outputs, h, w)."""
        pooled = mean_pool(maps, (self.side, self.side))
        return on_grid(torch.relu(self.norm(self.conv(pooled))), grid_of(maps))


class BaseLearner(nn.Module):
    """Head of the PSPNet: stage 4 → logits of the background and of the base classes.

    Args:
        channels: Channels of stage 4.
        classes: Number of base classes.
        width: Channels of each pooled map and of stage 5.
    """

    def __init__(self, channels: int, classes: int, width: int = PYRAMID_WIDTH) -> None:
        super().__init__()
        self.classes, self.width = classes, width
        self.pools = nn.ModuleList(PooledConv(channels, width, side) for side in BINS)
        joined = channels + width * len(BINS)
        self.reduce = nn.Conv2d(joined, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout2d(0.1)
        self.score = nn.Conv2d(width, classes + 1, 1)

    def stage5(self, high: Tensor) -> Tensor:
        """Map stage 4 (B, Ch, h, w) to (B, width, h, w), before the ReLU."""
        pyramid = torch.cat([high, *(pool(high) for pool in self.pools)], 1)
        return self.norm(self.reduce(pyramid))

    def classify(self, stage5: Tensor) -> Tensor:
        """Map stage 5 to logits (B, classes + 1, h, w)."""
        return self.score(self.dropout(torch.relu(stage5)))

    def forward(self, high: Tensor) -> Tensor:
        """Map stage 4 (B, Ch, h, w) to logits (B, classes + 1, h, w)."""
        return self.classify(self.stage5(high))


class PSPNet(nn.Module):
    """Segmentation of the base classes: backbone and base learner, trained as a whole.

    Args:
        backbone: Image encoder; its batch norms learn too.
        learner: Head.
    """

    def __init__(self, backbone: Backbone, learner: BaseLearner) -> None:
        super().__init__()
        self.backbone, self.learner = backbone, learner

    def forward(self, images: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W), RGB in 0 … 1, to logits (B, classes + 1, H, W)."""
        logits = self.learner(self.backbone(images).high)
        return on_grid(logits.float(), (images.shape[-2], images.shape[-1]))

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross entropy with labels (B, H, W): 1 + rank among the base classes, 0, 255."""
        return base_losses(self(images), labels)


def base_losses(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Compare logits (B, classes + 1, h, w) with labels (B, H, W); ``base`` is ``total``."""
    loss = cross_entropy(logits, labels)
    return {"base": loss, "total": loss}
