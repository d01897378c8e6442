"""Random weights in place of those that are not on this machine, so that a dry run needs none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from fcp.config import BackboneConfig, SegmenterConfig
from fcp.encoders import build_backbone, build_segmenter
from fcp.encoders.places import is_here
from fcp.engine.recipe import HeadRecipe
from fcp.engine.train_segmenter import WEIGHTS

PartT = TypeVar("PartT", BackboneConfig, SegmenterConfig)

# Contents of each hub id's config.json where they differ from the defaults of transformers; a file
# of weights alone has none.
ARCHITECTURES: Mapping[str, dict[str, Any] | None] = {
    "timm/resnet50.tv_in1k": None,
    "timm/vgg16_bn.tv_in1k": None,
    "facebook/dinov2-base": {"model_type": "dinov2", "image_size": 518, "patch_size": 14},
    "facebook/sam-vit-base": {},
    "facebook/sam-vit-huge": {
        "vision_config": {
            "hidden_size": 1280,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "global_attn_indexes": [7, 15, 23, 31],
            "mlp_dim": 5120,
        }
    },
    "facebook/sam2.1-hiera-large": {
        "vision_config": {
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 144,
                "num_attention_heads": 2,
                "blocks_per_stage": [2, 6, 36, 4],
                "embed_dim_per_stage": [144, 288, 576, 1152],
                "num_attention_heads_per_stage": [2, 4, 8, 16],
                "window_size_per_stage": [8, 4, 16, 8],
                "global_attention_blocks": [23, 33, 43],
            },
            "backbone_channel_list": [1152, 576, 288, 144],
        }
    },
}
# Encoders that bring their architecture with their weights, so that their options do not tell it.
_FROM_WEIGHTS = ("auto", "sam", "sam2", "sam_hq")


@dataclass(frozen=True)
class Stand:
    """A recipe that can be built on this machine.

    Attributes:
        recipe: Recipe without the weights that are not here.
        missing: Names of those weights.
    """

    recipe: HeadRecipe
    missing: tuple[str, ...]


def without_missing(recipe: HeadRecipe) -> Stand:
    """Replace weights that are not on this machine by random ones of the same architecture.

    Nothing is fetched. Weights of an architecture that only they themselves tell stay named, so
    that building the model fetches or refuses them.
    """
    missing: list[str] = []
    model = recipe.model
    backbone = _replaced(model.backbone, missing)
    segmenter = _replaced(model.segmenter, missing)
    weights, folder, start = recipe.backbone_weights, recipe.segmenter_folder, recipe.start
    if start is not None and not Path(start).is_dir():
        missing.append(start)
        start = None
    if weights is not None and model.backbone.weights is None and not is_here(weights):
        missing.append(weights)
        weights = None
    if folder is not None and not (Path(folder) / WEIGHTS).exists():
        missing.append(folder)
        folder = None
    config = replace(model, backbone=backbone, segmenter=segmenter)
    usable = replace(
        recipe, model=config, start=start, backbone_weights=weights, segmenter_folder=folder
    )
    return Stand(usable, tuple(missing))


def large_parts(recipe: HeadRecipe) -> list[str]:
    """Name the encoders that take long to build, each with its size.

    The sizes of random ones are counted without building them; those of weights are not known
    before they are read.
    """
    backbone, segmenter = recipe.model.backbone, recipe.model.segmenter
    return [
        *_large(backbone, lambda: build_backbone(backbone)),
        *_large(segmenter, lambda: build_segmenter(segmenter)),
    ]


def _large(part: BackboneConfig | SegmenterConfig, build: Callable[[], nn.Module]) -> list[str]:
    if part.name not in _FROM_WEIGHTS:
        return []
    if part.weights is not None:
        return [f"{part.name} with the weights {part.weights}"]
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build().parameters())
    return [f"{part.name} of {count / 1e6:,.0f} M parameters with random weights"]


def _replaced(part: PartT, missing: list[str]) -> PartT:
    weights = part.weights
    known = weights in ARCHITECTURES or part.name not in _FROM_WEIGHTS
    if weights is None or not known or is_here(weights):
        return part
    missing.append(weights)
    config = ARCHITECTURES.get(weights)
    options = part.options if config is None else {**part.options, "config": config}
    return replace(part, weights=None, options=options)
