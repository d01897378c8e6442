"""EfficientNet-Lite (after arXiv 1905.11946) as class-consistent backbone.

The Lite models differ from EfficientNet: no squeeze-excite, ReLU6 in place of swish, and no scaling
of the stem and of the repeats of the first and the last stage. Blocks are numbered as in the
published program, 0 … 15 (Lite0) to 0 … 29 (Lite4). At the default ``output_stride`` of 32 the
blocks of the seven stages are at 2, 4, 8, 16, 16, 32 and 32 px.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcp.encoders.base import SharingBackbone
from fcp.encoders.hub import find_weight_file
from fcp.encoders.pixels import Normalise, grid_of, mask_like
from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.errors import FcpError
from fcp.layers.grid import on_grid
from fcp.structures import BackboneFeatures

SIZES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))  # width and depth of Lite0 … 4
STEM_CHANNELS = 32  # not scaled by the width, as in all Lite models
NORM_EPSILON = 1e-3
# For each stage at size 0: blocks, kernel, stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_FIRST_AT_8 = 2  # index of the first stage at 8 px
_LAST_STAGES = 2  # number of stages that run on the masked output of the stage before them
_HEAD = ("_conv_head.", "_bn1.", "_fc.")  # names of the published classifier


@dataclass(frozen=True)
class BlockShape:
    """Shape of one inverted residual.

    Attributes:
        stage: Index of its stage, 0 … 6.
        kernel: Side of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        dilation: Dilation of the depthwise convolution.
        expansion: Number of hidden channels per input channel.
        inputs: Number of input channels.
        outputs: Number of output channels.
    """

    stage: int
    kernel: int
    stride: int
    dilation: int
    expansion: int
    inputs: int
    outputs: int


class EfficientNetLite(SharingBackbone):
    """Mid-level map: the chosen blocks' outputs, resized to the stride-8 grid and concatenated.

    The high-level map is the last block's; for a support picture the last two stages run on the
    output of the stage before them, multiplied by the mask. Parameters have the published names.

    Args:
        size: Number 0 … 4 of the model, Lite0 … Lite4.
        layers: Numbers of the blocks that make the mid-level map, in ascending order.
        output_stride: Stride of the last stage, 32, 16 or 8 px; larger strides become dilations.
        standardise: Whether the mid-level map is standardised, see ``Backbone``.
    """

    def __init__(
        self, size: int, *, layers: Sequence[int], output_stride: int, standardise: bool
    ) -> None:
        super().__init__()
        shapes = list(block_shapes(size, output_stride))
        self.normalise = Normalise((127 / 255,) * 3, (128 / 255,) * 3)  # (x - 127) / 128
        self._conv_stem = SameConv(3, STEM_CHANNELS, 3, stride=2)
        self._bn0 = _norm(STEM_CHANNELS)
        self._blocks = nn.ModuleList(InvertedResidual(shape) for shape in shapes)
        self.layers = tuple(layers)
        self.masked_from = next(
            index
            for index, shape in enumerate(shapes)
            if shape.stage == len(_STAGES) - _LAST_STAGES
        )
        self.level_channels = tuple(shapes[index].outputs for index in self.layers)
        self.mid_channels = sum(self.level_channels)
        self.high_channels = shapes[-1].outputs
        self.fine = slice(self.level_channels[0])
        if standardise:
            self.keep_statistics()

    def whole(self, images: Tensor) -> tuple[BackboneFeatures, Tensor]:
        """Encode pictures (B, 3, H, W); see ``SharingBackbone``. The grid is H/8 × W/8."""
        grid = grid_of(images)
        x = F.relu6(self._bn0(self._conv_stem(self.normalise(images))))
        levels = []
        for index, block in enumerate(self._blocks):
            if index == self.masked_from:
                stage_input = x
            x = block(x)
            if index in self.layers:
                levels.append(x)
        levels = self._standardised_levels(levels)
        mid = torch.cat([on_grid(level, grid, align_corners=False) for level in levels], 1)
        high = on_grid(x, grid, align_corners=False)
        return BackboneFeatures(mid=mid, high=high, levels=tuple(levels)), stage_input

    def under(self, mask: Tensor, stage_input: Tensor) -> Tensor:
        """Run the last two stages on the masked input; see ``SharingBackbone``."""
        x = stage_input * mask_like(mask, stage_input)
        for block in self._blocks[self.masked_from :]:
            x = block(x)
        return on_grid(x, grid_of(mask), align_corners=False)

    def _standardised_levels(self, levels: list[Tensor]) -> list[Tensor]:
        if not self.standardise:
            return levels
        means = self.mid_mean.view(-1, 1, 1).split(self.level_channels)
        stds = self.mid_std.view(-1, 1, 1).split(self.level_channels)
        return [(x - mean) / std for x, mean, std in zip(levels, means, stds, strict=True)]


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, linear 1×1 projection; the input added if it fits.

    Args:
        shape: Channels, kernel, stride and dilation.
    """

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        hidden = shape.inputs * shape.expansion
        self.expands = shape.expansion != 1
        if self.expands:
            self._expand_conv = SameConv(shape.inputs, hidden, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SameConv(
            hidden,
            hidden,
            shape.kernel,
            stride=shape.stride,
            dilation=shape.dilation,
            groups=hidden,
        )
        self._bn1 = _norm(hidden)
        self._project_conv = SameConv(hidden, shape.outputs, 1)
        self._bn2 = _norm(shape.outputs)
        self.adds_input = shape.stride == 1 and shape.inputs == shape.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h / stride, w / stride), rounded up."""
        hidden = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        out = self._bn2(self._project_conv(hidden))
        return x + out if self.adds_input else out


class SameConv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow's "same": the odd pixel goes to the end.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        kernel: Side of the kernel, odd.
        stride: Stride of the convolution.
        dilation: Dilation of the kernel.
        groups: Number of groups of channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        # At stride 1 both sides get the same padding for any size.
        padding = dilation * (kernel // 2) if stride == 1 else 0
        super().__init__(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', h / stride, w / stride), rounded up."""
        if self.stride[0] > 1:
            down, right = (self._missing(length) for length in x.shape[-2:])
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return super().forward(x)

    def _missing(self, length: int) -> int:
        """Return the padding in px that a side of this length needs."""
        reach = self.dilation[0] * (self.kernel_size[0] - 1) + 1
        stride = self.stride[0]
        return max(0, (ceil(length / stride) - 1) * stride + reach - length)


def block_shapes(size: int, output_stride: int) -> Iterator[BlockShape]:
    """Yield the shape of each block of Lite ``size``; later strides become dilations.

    The block whose stride becomes 1 keeps the dilation before it, since its kernel reads the same
    grid as in the published network; the blocks after it are dilated.
    """
    width, depth = SIZES[size]
    inputs, stride_so_far, dilation = STEM_CHANNELS, 2, 1
    for stage, (blocks, kernel, stride, expansion, channels) in enumerate(_STAGES):
        outputs = _round_channels(channels * width)
        ends = stage in (0, len(_STAGES) - 1)
        for number in range(blocks if ends else ceil(blocks * depth)):
            wanted = stride if number == 0 else 1
            kept = wanted if stride_so_far * wanted <= output_stride else 1
            yield BlockShape(stage, kernel, kept, dilation, expansion, inputs, outputs)
            stride_so_far *= kept
            dilation *= wanted // kept
            inputs = outputs


def build_efficientnet_lite(
    weights: str | None,
    *,
    size: int = 2,
    layers: Sequence[int] | None = None,
    output_stride: int = 32,
    standardise: bool = True,
) -> EfficientNetLite:
    """Build EfficientNet-Lite.

    Args:
        weights: File with the published PyTorch names, or a folder or hub id with one; None for
            random weights.
        size: Number 0 … 4 of the model, Lite0 … Lite4.
        layers: Numbers of the blocks of the mid-level map; None for the last of each stage from
            stride 8 on.
        output_stride: Stride of the last stage, 32, 16 or 8 px; larger strides become dilations.
        standardise: Whether the mid-level map is standardised, see ``Backbone``.

    Raises:
        FcpError: options out of range, or weights that are missing or do not fit.
    """
    if size not in range(len(SIZES)):
        raise FcpError(f"size: expected 0 … {len(SIZES) - 1}, got {size!r}")
    if output_stride not in (8, 16, 32):
        raise FcpError(f"output_stride: expected 8, 16 or 32, got {output_stride!r}")
    shapes = list(block_shapes(size, output_stride))
    if layers is None:
        last = {shape.stage: index for index, shape in enumerate(shapes)}
        layers = [last[stage] for stage in range(_FIRST_AT_8, len(_STAGES))]
    if not layers or list(layers) != sorted(set(layers) & set(range(len(shapes)))):
        raise FcpError(
            f"layers: expected ascending block numbers 0 … {len(shapes) - 1}, got {layers}"
        )
    backbone = EfficientNetLite(
        size, layers=layers, output_stride=output_stride, standardise=standardise
    )
    if weights is not None:
        state = read_state_dict(find_weight_file(weights))
        trunk = {name: tensor for name, tensor in state.items() if not name.startswith(_HEAD)}
        trunk.update({n: t for n, t in backbone.state_dict().items() if n.startswith("mid_")})
        load_strictly(backbone, trunk, weights)
    return backbone


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON)


def _round_channels(channels: float) -> int:
    """Round to a multiple of 8, and not down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
