"""VGG-16 with batch norm (arXiv 1409.1556), cut into the five stages of the authors' program.

Stages ``layer0`` … ``layer3`` each end with their pooling, ``layer4`` runs without one (method §1,
§11). Stages 2 (256, stride 8) and 3 (512, stride 16) are the mid-level map, stage 4 (512, stride
16) the high-level one; all are brought to the stride-8 grid, bilinear with aligned corners.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fcp.encoders.base import Backbone
from fcp.encoders.hub import find_weight_file
from fcp.encoders.pixels import Normalise, grid_of, mask_like
from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.layers.grid import on_grid
from fcp.structures import BackboneFeatures

# Widths of each stage's convolutions; (inputs, outputs) follow from their order.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_STARTS = (0, 7, 14, 24, 34)  # index of each stage's first layer in torchvision's ``features``

_CLASSIFIERS = ("classifier", "pre_logits", "head")  # torchvision's, and timm's two parts


class VGG16(Backbone):
    """VGG-16-BN whose mid-level map is concat(stage 3, stage 2), in the order of the ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.layer0 = _stage(3, _STAGES[0])
        self.layer1 = _stage(64, _STAGES[1])
        self.layer2 = _stage(128, _STAGES[2])
        self.layer3 = _stage(256, _STAGES[3])
        self.layer4 = _stage(512, _STAGES[4], pool=False)
        self.mid_channels = 512 + 256
        self.high_channels = 512
        self.fine = slice(512, None)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
        """Encode pictures (B, 3, H, W); see ``Backbone``. The grid is H/8 × W/8."""
        grid = grid_of(images)
        stage2 = self.layer2(self.layer1(self.layer0(self.normalise(images))))  # (B, 256, H/8, W/8)
        stage3 = self.layer3(stage2)  # (B, 512, H/16, W/16)
        last = stage3 if mask is None else stage3 * mask_like(mask, stage3)
        stage4 = self.layer4(last)  # (B, 512, H/16, W/16)
        mid = [on_grid(stage, grid) for stage in (stage3, stage2)]
        return BackboneFeatures(mid=torch.cat(mid, 1), high=on_grid(stage4, grid))


def build_vgg16_bn(weights: str | None) -> VGG16:
    """Build VGG-16-BN.

    Args:
        weights: File with torchvision's, timm's or own names, or a folder or hub id with one, such
            as ``timm/vgg16_bn.tv_in1k``; None for random weights.

    Raises:
        FcpError: weights that are missing or do not fit.
    """
    backbone = VGG16()
    if weights is not None:
        load_strictly(backbone, _own_names(read_state_dict(find_weight_file(weights))), weights)
    return backbone


def _own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's ``features.N`` to ``layerS.M`` and drop the classifier."""
    renamed = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        index, _, field = rest.partition(".")
        if part == "features" and index.isdecimal():
            stage = bisect_right(_STARTS, int(index)) - 1
            renamed[f"layer{stage}.{int(index) - _STARTS[stage]}.{field}"] = tensor
        elif part not in _CLASSIFIERS:
            renamed[name] = tensor
    return renamed


def _stage(inputs: int, widths: tuple[int, ...], *, pool: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(inplace=True)]
        inputs = width
    if pool:
        layers.append(nn.MaxPool2d(2, stride=2))
    return nn.Sequential(*layers)
