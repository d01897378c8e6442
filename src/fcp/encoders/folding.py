"""Encoders for inference alone: the same outputs in less time, from a copy.

In evaluation, a batch norm after a convolution is a scale and a shift of the channels, which can be
folded into the convolution's weights. The given encoder is not changed, so that training and saving
work on its published parts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fcp.encoders.base import Backbone
from fcp.structures import BackboneFeatures

EncoderT = TypeVar("EncoderT", bound=nn.Module)

_PROBE = 64  # px of the picture on which a folded backbone is compared with the original
_TOLERANCE = 1e-4  # of the largest value


def fold_norms(encoder: EncoderT) -> EncoderT:
    """Copy an encoder with each batch norm folded into the convolution before it.

    Args:
        encoder: Encoder in evaluation mode.

    Returns:
        The copy; the encoder itself if it has no such norm, or if a backbone of transformers uses
        its parts in another order than it lists them.
    """
    if not any(True for _ in _normed(encoder)):
        return encoder
    folded = copy.deepcopy(encoder)
    for parent, convolution, name in list(_normed(folded)):
        norm = getattr(parent, name)
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        setattr(parent, name, nn.Identity())
    _pad_inside(folded)
    folded.requires_grad_(False)
    if next(folded.parameters()).device.type == "cpu":  # its kernels are faster so
        convert_conv2d_weight_memory_format(folded, torch.channels_last)
    if (
        isinstance(encoder, Backbone)
        and isinstance(folded, Backbone)
        and not _same(encoder, folded)
    ):
        return encoder
    return folded


def _normed(encoder: nn.Module) -> Iterator[tuple[nn.Module, nn.Conv2d, str]]:
    """Yield each convolution directly followed by a norm: their parent, it, the norm's name."""
    for parent in encoder.modules():
        for (_, first), (name, second) in pairwise(parent.named_children()):
            if (
                isinstance(first, nn.Conv2d)
                and isinstance(second, nn.BatchNorm2d)
                and second.num_features == first.out_channels
                and second.track_running_stats
            ):
                yield parent, first, name


def _pad_inside(encoder: nn.Module) -> None:
    """Let MobileNet's convolutions pad themselves at stride 1, where TensorFlow pads evenly.

    transformers pads before each, which copies the whole map.
    """
    for layer in encoder.modules():
        convolution, config = getattr(layer, "convolution", None), getattr(layer, "config", None)
        if convolution is None or convolution.stride != (1, 1):
            continue
        if getattr(config, "tf_padding", False):
            kernel, dilation = convolution.kernel_size, convolution.dilation
            convolution.padding = tuple(
                step * (side // 2) for step, side in zip(dilation, kernel, strict=True)
            )
            own: Any = copy.copy(config)
            own.tf_padding = False
            layer.config = own


@torch.inference_mode()
def _same(one: Backbone, other: Backbone) -> bool:
    """Return whether two backbones give the same features of a picture of noise."""
    device = next(one.parameters()).device
    noise = torch.rand(1, 3, _PROBE, _PROBE, generator=torch.Generator().manual_seed(0))
    exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)
    with exact:  # TF32, which convolutions on a GPU take, rounds to 1e-3
        seen: list[BackboneFeatures] = [backbone(noise.to(device)) for backbone in (one, other)]
    return all(
        bool((a - b).abs().max() <= _TOLERANCE * a.abs().max())
        for a, b in ((seen[0].mid, seen[1].mid), (seen[0].high, seen[1].high))
    )
