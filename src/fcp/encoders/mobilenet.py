"""MobileNetV2 (arXiv 1801.04381) of transformers as class-consistent backbone.

Blocks are numbered as the paper's 17 inverted residuals, 0 … 16. Block 0 is the one inside
transformers' ``conv_stem`` and block n ≥ 1 is its ``layer[n - 1]``. Strides at the default
``output_stride`` of 32: blocks 1–2 are at 4 px, 3–5 at 8, 6–12 at 16, 13–16 at 32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MobileNetV2Config, MobileNetV2Model

from fcp.encoders.base import SharingBackbone
from fcp.encoders.hub import load_model, make_config, refuse_both
from fcp.encoders.pixels import Normalise, grid_of, mask_like
from fcp.errors import FcpError
from fcp.layers.grid import on_grid
from fcp.structures import BackboneFeatures

BLOCKS = 17
LAST_STAGE = 14  # blocks 14 … 16 run on the masked output of block 13


class MobileNetV2(SharingBackbone):
    """Mid-level map: the chosen blocks' outputs, resized to the stride-8 grid and concatenated.

    The high-level map is block 16's; for a support picture blocks 14 … 16 run on block 13's
    output multiplied by the mask.

    Args:
        model: Model of transformers; its pooling and last 1×1 convolution are not used.
        layers: Numbers of the blocks that make the mid-level map, in ascending order.
        standardise: Whether the mid-level map is standardised, see ``Backbone``.
    """

    def __init__(
        self, model: MobileNetV2Model, *, layers: Sequence[int], standardise: bool
    ) -> None:
        super().__init__()
        self.normalise = Normalise((0.5,) * 3, (0.5,) * 3)  # to -1 … 1
        self.blocks = nn.ModuleList([model.conv_stem, *model.layer])
        self.layers = tuple(layers)
        parts: list[Any] = list(self.blocks)
        channels: list[int] = [block.reduce_1x1.convolution.out_channels for block in parts]
        self.mid_channels = sum(channels[index] for index in self.layers)
        self.high_channels = channels[-1]
        self.fine = slice(channels[self.layers[0]])
        if standardise:
            self.keep_statistics()

    def whole(self, images: Tensor) -> tuple[BackboneFeatures, Tensor]:
        """Encode pictures (B, 3, H, W); see ``SharingBackbone``. The grid is H/8 × W/8."""
        grid = grid_of(images)
        x = self.normalise(images)
        taps = []
        for index, block in enumerate(self.blocks):
            if index == LAST_STAGE:
                stage_input = x
            x = block(x)
            if index in self.layers:
                taps.append(on_grid(x, grid, align_corners=False))
        mid = self.standardised(torch.cat(taps, 1))
        high = on_grid(x, grid, align_corners=False)
        return BackboneFeatures(mid=mid, high=high), stage_input

    def under(self, mask: Tensor, stage_input: Tensor) -> Tensor:
        """Run the last blocks on the masked input; see ``SharingBackbone``."""
        x = stage_input * mask_like(mask, stage_input)
        for block in self.blocks[LAST_STAGE:]:
            x = block(x)
        return on_grid(x, grid_of(mask), align_corners=False)


def build_mobilenet_v2(
    weights: str | None,
    *,
    layers: Sequence[int] = (5, 12, 14, 16),
    output_stride: int = 32,
    standardise: bool = True,
    config: Mapping[str, Any] | None = None,
) -> MobileNetV2:
    """Build MobileNetV2.

    Args:
        weights: Folder in transformers' layout or hub id, with or without a classifier; None for
            random weights.
        layers: Numbers of the blocks of the mid-level map, in ascending order.
        output_stride: Stride of the last stage, 32, 16 or 8 px; larger strides become dilations.
        standardise: Whether the mid-level map is standardised, see ``Backbone``.
        config: Architecture as in transformers' ``config.json``; only if ``weights`` is None.

    Raises:
        FcpError: options out of range, or weights that are missing or do not fit.
    """
    refuse_both(weights, config)
    if not layers or list(layers) != sorted(set(layers) & set(range(BLOCKS))):
        raise FcpError(f"layers: expected ascending block numbers 0 … {BLOCKS - 1}, got {layers}")
    if output_stride not in (8, 16, 32):
        raise FcpError(f"output_stride: expected 8, 16 or 32, got {output_stride!r}")
    if weights is not None:
        model = load_model(MobileNetV2Model, weights, output_stride=output_stride)
    else:
        values = {**(config or {}), "output_stride": output_stride}
        model = MobileNetV2Model(make_config(MobileNetV2Config, values))
    return MobileNetV2(model, layers=layers, standardise=standardise)
