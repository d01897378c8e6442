"""Any model of transformers' ``AutoBackbone``, or any plain ViT, as class-consistent backbone.

Such as DINOv2, DINOv3, Swin and ConvNeXt. In general their last stage cannot be run on a masked map
(tokens attend to one another), so for a support picture the high-level map itself is multiplied by
the mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING, MODEL_MAPPING

from fcp.encoders.base import SharingBackbone
from fcp.encoders.hub import load_config, load_model, make_config, refuse_both
from fcp.encoders.pixels import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalise,
    grid_of,
    mask_like,
    resize,
)
from fcp.errors import FcpError
from fcp.layers.grid import on_grid
from fcp.structures import BackboneFeatures


class AutoEncoder(SharingBackbone):
    """Mid-level map: two intermediate stages (or layers of a ViT); high-level map: the last one.

    Args:
        model: Backbone of transformers, or a ViT that returns its layers' tokens.
        layers: Indices of the two mid-level stages; 0 is the patch embedding.
        image_size: Side in px of the square input; None for the picture's own size, rounded to
            patches.
        normalise: Normalisation that the model was trained with.
    """

    model: Any  # transformers' outputs are loosely typed

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        layers: Sequence[int],
        image_size: int | None,
        normalise: Normalise,
    ) -> None:
        super().__init__()
        self.model = model
        self.normalise = normalise
        self.layers = tuple(layers)
        self.image_size = image_size
        patch = getattr(model.config, "patch_size", 1)
        self.patch = patch if isinstance(patch, int) else patch[0]
        self.mid_channels = sum(_channels(model, layer) for layer in self.layers)
        self.high_channels = _channels(model, -1)

    def whole(self, images: Tensor) -> tuple[BackboneFeatures, Tensor]:
        """Encode pictures (B, 3, H, W); see ``SharingBackbone``. The grid is H/8 × W/8."""
        grid = grid_of(images)
        pixels = self.normalise(resize(images, self._input_size(images)))
        maps = [on_grid(feature, grid, align_corners=False) for feature in self._stages(pixels)]
        return BackboneFeatures(mid=torch.cat(maps[:-1], 1), high=maps[-1]), maps[-1]

    def under(self, mask: Tensor, stage_input: Tensor) -> Tensor:
        """Mask the last map itself; see ``SharingBackbone``."""
        return stage_input * mask_like(mask, stage_input)

    def _input_size(self, images: Tensor) -> tuple[int, int]:
        if self.image_size is not None:
            return self.image_size, self.image_size
        height, width = (max(1, round(side / self.patch)) for side in images.shape[-2:])
        return height * self.patch, width * self.patch

    def _stages(self, pixels: Tensor) -> list[Tensor]:
        """Run the model on (B, 3, H, W); the chosen stages and the last one as (B, C, h', w')."""
        if hasattr(self.model, "out_features"):
            return list(self.model(pixels).feature_maps)
        hidden = self.model(pixels, output_hidden_states=True).hidden_states
        height, width = (side // self.patch for side in pixels.shape[-2:])
        patches = [hidden[layer][:, -height * width :] for layer in (*self.layers, -1)]
        return [tokens.transpose(1, 2).unflatten(2, (height, width)) for tokens in patches]


def build_auto(
    weights: str | None,
    *,
    layers: Sequence[int] | None = None,
    image_size: int | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    config: Mapping[str, Any] | None = None,
) -> AutoEncoder:
    """Build any transformers backbone or ViT.

    Args:
        weights: Folder in transformers' layout, or hub id; None for random weights of the
            architecture ``config``.
        layers: Two ascending stage numbers for the mid-level map (0 = patch embedding); None for
            half and three quarters of the depth: stages 2 and 3 of 4, layers 6 and 9 of 12.
        image_size: Side in px of the square input; None for the picture's own size, rounded to a
            multiple of the patch (for a plain ViT, the size of its training).
        mean: Mean of each channel in the model's normalisation.
        std: Standard deviation of each channel in the model's normalisation.
        config: Architecture as in transformers' ``config.json``, with its ``model_type``; only if
            ``weights`` is None.

    Raises:
        FcpError: options out of range, a model without a grid, or weights that do not fit.
    """
    refuse_both(weights, config)
    settings = config_from_values(config) if weights is None else load_config(weights)
    depth = _depth(settings)
    chosen = list(layers) if layers is not None else [depth // 2, depth * 3 // 4]
    if chosen != sorted(set(chosen) & set(range(depth))):
        raise FcpError(f"layers: expected ascending numbers 0 … {depth - 1}, got {chosen}")
    model = _model(weights, settings, [*chosen, depth])
    if image_size is None and not hasattr(model, "out_features"):
        image_size = settings.image_size
    return AutoEncoder(model, layers=chosen, image_size=image_size, normalise=Normalise(mean, std))


def config_from_values(config: Mapping[str, Any] | None) -> PreTrainedConfig:
    """Build the configuration of any model of transformers from its ``config.json``'s entries.

    Raises:
        FcpError: no ``model_type``, one that transformers does not have, or impossible values.
    """
    values = dict(config or {})
    kind = values.pop("model_type", None)
    if kind is None:
        raise FcpError("weights: give a hub id or folder, or options.config with its model_type")
    try:
        config_class = type(AutoConfig.for_model(kind))
    except ValueError as error:
        raise FcpError(f"options.config.model_type: transformers has no {kind!r}") from error
    return make_config(config_class, values)


def _depth(settings: PreTrainedConfig) -> int:
    """Return the number of the last stage or layer."""
    names = getattr(settings, "stage_names", None)
    if names is not None:
        return len(names) - 1
    if not hasattr(settings, "num_hidden_layers") or not hasattr(settings, "patch_size"):
        raise FcpError(f"{settings.model_type}: neither a backbone nor a ViT of transformers")
    return int(settings.num_hidden_layers)


def _model(weights: str | None, settings: PreTrainedConfig, stages: list[int]) -> PreTrainedModel:
    is_backbone = type(settings) in MODEL_FOR_BACKBONE_MAPPING
    if is_backbone:
        settings.out_indices = stages
    mapping: Any = MODEL_FOR_BACKBONE_MAPPING if is_backbone else MODEL_MAPPING
    model_class: type[PreTrainedModel] = mapping[type(settings)]
    if weights is None:
        return model_class(settings)
    # Backbones add norms after each stage that classification files cannot hold.
    return load_model(model_class, weights, may_miss="hidden_states_norms", config=settings)


def _channels(model: PreTrainedModel, stage: int) -> int:
    features = getattr(model, "num_features", None)  # of each stage of a backbone
    return int(model.config.hidden_size if features is None else features[stage])
