"""Dilated ResNet-50 and -101: stages 2, 3 and 4 share one stride-8 grid.

Architecture of He et al. (arXiv 1512.03385) with the dilated stages of Yu et al. (arXiv
1705.09914) and the deep stem of PSPNet (arXiv 1612.01105), which the authors' ResNet has
(method §1). Modules are named ``layer0`` … ``layer4`` as in the authors' checkpoints (method §11).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fcp.encoders.base import Backbone
from fcp.encoders.hub import find_weight_file
from fcp.encoders.pixels import Normalise, mask_like
from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.errors import FcpError
from fcp.structures import BackboneFeatures

EXPANSION = 4
# Index of each of the stem's parts in ``layer0``; ReLUs are between them.
_STEMS = {
    "3conv": {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6, "bn3": 7},
    "7x7": {"conv1": 0, "bn1": 1},
}


class Bottleneck(nn.Module):
    """1×1 → 3×3 (strided or dilated) → 1×1 with a shortcut.

    Args:
        inputs: Number of input channels.
        width: Number of channels of the 3×3 convolution; the output has ``EXPANSION`` times as
            many.
        stride: Stride of the 3×3 convolution.
        dilation: Dilation of the 3×3 convolution.
    """

    def __init__(self, inputs: int, width: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, 4·width, h/stride, w/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class DilatedResNet(Backbone):
    """ResNet whose mid-level map is concat(stage 3, stage 2) and whose high-level map is stage 4.

    Args:
        blocks: Number of bottlenecks in each of the four stages.
        stem: Kind of stem: "3conv" (64, 64, 128 channels; PSPNet's) or "7x7" (torchvision's).
    """

    def __init__(self, blocks: tuple[int, int, int, int], *, stem: str) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.layer0 = _stem(stem)
        inputs = 128 if stem == "3conv" else 64
        self.layer1 = _stage(inputs, 64, blocks[0])
        self.layer2 = _stage(256, 128, blocks[1], stride=2)
        self.layer3 = _stage(512, 256, blocks[2], dilation=2)
        self.layer4 = _stage(1024, 512, blocks[3], dilation=4)
        self.mid_channels = 1024 + 512
        self.high_channels = 2048
        self.fine = slice(1024, None)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
        """Encode pictures (B, 3, H, W); see ``Backbone``. The grid is H/8 × W/8."""
        x = self.layer1(self.layer0(self.normalise(images)))  # (B, 256, H/4, W/4)
        stage2 = self.layer2(x)  # (B, 512, h, w)
        stage3 = self.layer3(stage2)  # (B, 1024, h, w)
        last = stage3 if mask is None else stage3 * mask_like(mask, stage3)
        return BackboneFeatures(mid=torch.cat([stage3, stage2], 1), high=self.layer4(last))


def build_resnet50(weights: str | None, *, stem: str = "3conv") -> DilatedResNet:
    """Build ResNet-50.

    Args:
        weights: State-dict file of torchvision, PSPNet, timm or this program, or a folder or hub id
            with one, such as ``timm/resnet50.tv_in1k`` (torchvision's, stem "7x7"); None for random
            weights.
        stem: Kind of stem, see ``DilatedResNet``.

    Raises:
        FcpError: an unknown stem, or weights that are missing or do not fit.
    """
    return _build((3, 4, 6, 3), weights, stem)


def build_resnet101(weights: str | None, *, stem: str = "3conv") -> DilatedResNet:
    """Build ResNet-101; see ``build_resnet50``."""
    return _build((3, 4, 23, 3), weights, stem)


def _build(blocks: tuple[int, int, int, int], weights: str | None, stem: str) -> DilatedResNet:
    if stem not in _STEMS:
        raise FcpError(f"stem: expected one of {', '.join(_STEMS)}, got {stem!r}")
    backbone = DilatedResNet(blocks, stem=stem)
    if weights is not None:
        state = _own_names(read_state_dict(find_weight_file(weights)), stem, weights)
        load_strictly(backbone, state, weights)
    return backbone


def _own_names(state: Mapping[str, Tensor], stem: str, source: str | Path) -> dict[str, Tensor]:
    """Move the stem's entries below ``layer0`` and drop the classifier."""
    first = state.get("conv1.weight", state.get("layer0.0.weight"))
    if first is not None and first.ndim == 4 and (first.shape[-1] == 7) != (stem == "7x7"):
        other = "7x7" if first.shape[-1] == 7 else "3conv"
        raise FcpError(f"{source}: has the {other} stem; set the option stem: {other}")
    places = {f"{part}.": f"layer0.{place}." for part, place in _STEMS[stem].items()}
    renamed = {}
    for name, tensor in state.items():
        part = name.split(".", 1)[0] + "."
        if part != "fc.":
            renamed[places.get(part, part) + name.removeprefix(part)] = tensor
    return renamed


def _stem(kind: str) -> nn.Sequential:
    widths = [(3, 64), (64, 64), (64, 128)] if kind == "3conv" else [(3, 64)]
    size = 3 if kind == "3conv" else 7
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(widths):
        stride = 2 if index == 0 else 1
        layers += [
            nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.MaxPool2d(3, stride=2, padding=1))


def _stage(
    inputs: int, width: int, blocks: int, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Stack bottlenecks; only the first one strides, each one dilates."""
    first = Bottleneck(inputs, width, stride=stride, dilation=dilation)
    rest = [
        Bottleneck(width * EXPANSION, width, stride=1, dilation=dilation) for _ in range(1, blocks)
    ]
    return nn.Sequential(first, *rest)
