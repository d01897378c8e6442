"""Published backbones as the compared methods read them (table1.md §0).

They differ from ``fcp.encoders`` in how the mask reaches stage 4 (bilinear with aligned corners,
not nearest neighbour), and in the variants that SSP and CyCTR were trained with. Any other backbone
of ``fcp.encoders`` serves as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from fcp.checks import from_dict
from fcp.config import BackboneConfig
from fcp.encoders import build_backbone
from fcp.encoders.base import Backbone
from fcp.encoders.pixels import Normalise
from fcp.encoders.resnet import Bottleneck, DilatedResNet
from fcp.encoders.vgg import VGG16
from fcp.errors import FcpError
from fcp.layers.grid import on_grid
from fcp.method.parts import cells_of
from fcp.structures import BackboneFeatures

# Name of a backbone, or a mapping with its ``name`` and the ``options`` of its builder.
BackboneOption = str | Mapping[str, Any]


class Stages(Backbone):
    """A classifier's stages, on the grid of stage 3.

    ``BackboneFeatures.mid`` is concat(stage 3, stage 2), ``high`` is stage 4.

    Args:
        trunk: Backbone whose stages are taken over; it must not be used afterwards.
    """

    def __init__(self, trunk: DilatedResNet | VGG16) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.layer0, self.layer1, self.layer2 = trunk.layer0, trunk.layer1, trunk.layer2
        self.layer3, self.layer4 = trunk.layer3, trunk.layer4
        self.mid_channels, self.high_channels = trunk.mid_channels, trunk.high_channels
        self.fine = trunk.fine

    def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
        """Encode pictures (B, 3, H, W) in 0 … 1; see ``Backbone``.

        Masks (B, 1, H, W) are brought to the grid bilinearly; only pixels of value 1 are object.
        """
        stage2 = self.layer2(self.layer1(self.layer0(self.normalise(images))))
        stage3 = self.layer3(stage2)
        grid = (stage3.shape[-2], stage3.shape[-1])
        last = stage3 if mask is None else stage3 * cells_of(mask[:, 0], grid).to(stage3.dtype)
        return BackboneFeatures(
            mid=torch.cat([stage3, on_grid(stage2, grid)], 1), high=self.layer4(last)
        )


class StageThree(Backbone):
    """Stage 3 of a ResNet without the last ReLU of its last block: all that SSP reads.

    ``BackboneFeatures.high`` has no channels.

    Args:
        trunk: Backbone whose stages 0 to 3 are taken over; it must not be used afterwards.
    """

    def __init__(self, trunk: DilatedResNet) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.layer0, self.layer1 = trunk.layer0, trunk.layer1
        self.layer2, self.layer3 = trunk.layer2, trunk.layer3
        self.mid_channels, self.high_channels = 1024, 0

    def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
        """Encode pictures (B, 3, H, W) in 0 … 1; the mask has no influence."""
        x = self.layer2(self.layer1(self.layer0(self.normalise(images))))
        x = _signed(cast(Bottleneck, self.layer3[-1]), self.layer3[:-1](x))
        return BackboneFeatures(mid=x, high=x[:, :0])


def backbone_config(backbone: BackboneOption, weights: str | None) -> BackboneConfig:
    """Read a method's option ``backbone``.

    Args:
        backbone: Name or mapping, see ``BackboneOption``.
        weights: ImageNet weights; see ``fcp.encoders``. None for random ones.

    Raises:
        FcpError: Not such an option.
    """
    if isinstance(backbone, str):
        return BackboneConfig(backbone, weights)
    if isinstance(backbone, Mapping) and "weights" in backbone:
        raise FcpError("backbone.weights: no part of this option; give them as backbone_weights")
    config = from_dict(BackboneConfig, backbone, "backbone")
    return BackboneConfig(config.name, weights, config.options)


def build_stages(
    backbone: BackboneOption, weights: str | None, *, previous_dilation: bool = False
) -> Backbone:
    """Build the backbone of PFENet, BAM, HDMNet and, with ``previous_dilation``, CyCTR.

    Args:
        backbone: "resnet50" (with the 3-conv stem) or "vgg16_bn" as published, or any other.
        weights: ImageNet weights; see ``fcp.encoders``. None for random ones.
        previous_dilation: Let the first block of a ResNet's stages 3 and 4 keep the dilation before
            it.

    Raises:
        FcpError: Unknown backbone or option, or weights that are missing or do not fit.
    """
    trunk = build_backbone(backbone_config(backbone, weights))
    if isinstance(trunk, DilatedResNet) and previous_dilation:
        return Stages(keep_previous_dilation(trunk))
    return Stages(trunk) if isinstance(trunk, DilatedResNet | VGG16) else trunk


def build_stage_three(backbone: BackboneOption, weights: str | None) -> Backbone:
    """Build the backbone of SSP: a ResNet's stage 3, or any other; see ``build_stages``."""
    trunk = build_backbone(backbone_config(backbone, weights))
    if isinstance(trunk, DilatedResNet):
        return StageThree(keep_previous_dilation(trunk))
    return trunk


def backbone_settings(backbone: Backbone, option: BackboneOption) -> list[object]:
    """Return what a backbone's features depend on beside its weights, as plain values.

    For a backbone of ``fcp.encoders`` these are its name and options, as FCP's are stored under.
    """
    if isinstance(backbone, Stages | StageThree):
        return [type(backbone).__name__, str(backbone)]  # which says the dilations
    config = backbone_config(option, None)
    return [config.name, config.options]


def keep_previous_dilation(trunk: DilatedResNet) -> DilatedResNet:
    """Set the first block of stages 3 and 4 to dilation 1 and 2, and return the backbone."""
    for stage, dilation in ((trunk.layer3, 1), (trunk.layer4, 2)):
        middle = cast(Bottleneck, stage[0]).conv2
        middle.dilation = middle.padding = (dilation, dilation)
    return trunk


def _signed(block: Bottleneck, x: Tensor) -> Tensor:
    """Run a bottleneck that has no projection, without its last ReLU."""
    y = torch.relu(block.bn1(block.conv1(x)))
    y = torch.relu(block.bn2(block.conv2(y)))
    return block.bn3(block.conv3(y)) + x
