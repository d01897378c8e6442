"""An encoder's patch cells on its own grid: what methods without training compare.

A ViT of transformers gives its last block, before or after the final norm, without the class token
and the registers; one of our backbones gives its mid-level map.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from fcp.encoders.auto import build_auto, config_from_values
from fcp.encoders.base import Backbone
from fcp.encoders.hub import load_config, load_model, refuse_both
from fcp.encoders.pixels import STRIDE, Normalise, resize


class CellEncoder(nn.Module):
    """Picture → cells (B, C, h, w).

    Attributes:
        image_size: Side (px) of the square that pictures are brought to.
        channels: C.
    """

    image_size: int
    channels: int

    def forward(self, images: Tensor) -> Tensor:
        """Encode pictures (B, 3, H, W), RGB in 0 … 1; resized smoothly if of another size."""
        return self.encode(resize(images, (self.image_size, self.image_size)))

    def encode(self, images: Tensor) -> Tensor:
        """Encode pictures (B, 3, S, S) of this encoder's size."""
        raise NotImplementedError


class ViTCells(CellEncoder):
    """The last block of a ViT.

    Args:
        model: a ViT of transformers.
        image_size: Side (px), rounded to whole patches.
        final_norm: Cells after the model's final norm; False for before it.
    """

    model: Any  # transformers' outputs are loosely typed

    def __init__(self, model: PreTrainedModel, *, image_size: int, final_norm: bool) -> None:
        super().__init__()
        self.model = model
        patch = model.config.patch_size
        self.patch = patch if isinstance(patch, int) else patch[0]
        self.side = max(1, round(image_size / self.patch))
        self.image_size = self.side * self.patch
        self.channels = int(model.config.hidden_size)
        self.final_norm = final_norm
        self.normalise = Normalise()
        takes = inspect.signature(model.forward).parameters
        # The plain ViT leaves its trained size only when told to; the DINOs always may.
        self.settings = (
            {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        )

    def encode(self, images: Tensor) -> Tensor:
        """Encode pictures of this encoder's size; the patches are the last of the tokens."""
        found = self.model(
            self.normalise(images), output_hidden_states=not self.final_norm, **self.settings
        )
        tokens = found.last_hidden_state if self.final_norm else found.hidden_states[-1]
        return tokens[:, -self.side * self.side :].mT.unflatten(2, (self.side, self.side))


class BackboneCells(CellEncoder):
    """The mid-level map of one of our backbones, at stride 8.

    Args:
        backbone: Class-consistent backbone.
        image_size: Side (px), rounded to whole cells.
    """

    def __init__(self, backbone: Backbone, *, image_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = max(1, round(image_size / STRIDE)) * STRIDE
        self.channels = backbone.mid_channels

    def encode(self, images: Tensor) -> Tensor:
        """Encode pictures of this encoder's size."""
        return self.backbone(images).mid


def build_cells(
    weights: str | None,
    *,
    image_size: int,
    final_norm: bool,
    config: Mapping[str, Any] | None = None,
) -> CellEncoder:
    """Build a cell encoder of any ViT or backbone of transformers.

    Args:
        weights: Folder in transformers' layout or hub id.
        image_size: Side (px) of the pictures.
        final_norm: See ``ViTCells``; a hierarchical backbone has none to choose.
        config: Architecture as in transformers' ``config.json``, with its ``model_type``, where
            ``weights`` is None.

    Raises:
        FcpError: a model without a grid, or weights that are missing or do not fit.
    """
    refuse_both(weights, config)
    settings = config_from_values(config) if weights is None else load_config(weights)
    if not _is_plain_vit(settings):
        return BackboneCells(build_auto(weights, config=config), image_size=image_size)
    mapping: Any = MODEL_MAPPING
    model_class: type[PreTrainedModel] = mapping[type(settings)]
    if weights is None:
        model = model_class(settings)
    else:  # a folder of another task lacks the pooler, which is never read
        model = load_model(model_class, weights, may_miss="pooler")
    return ViTCells(model, image_size=image_size, final_norm=final_norm)


def _is_plain_vit(settings: PreTrainedConfig) -> bool:
    """Whether all blocks of a model have one width and one grid."""
    wanted = ("hidden_size", "patch_size", "num_hidden_layers")
    return all(hasattr(settings, name) for name in wanted) and not hasattr(settings, "depths")
