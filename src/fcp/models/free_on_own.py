"""Folders of methods without training on encoders of ours, whose weights lie in the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fcp.checks import to_dict
from fcp.config import BackboneConfig, EncodersConfig, SegmenterConfig
from fcp.encoders import build_backbone, build_segmenter
from fcp.encoders.base import Backbone, PromptableSegmenter
from fcp.encoders.weights import load_strictly
from fcp.errors import FcpError
from fcp.method.free import FreeMethod
from fcp.method.names import FreeName
from fcp.method.registry import build_on, find_method
from fcp.models.files import CONFIG_FILE, WEIGHTS_FILE
from fcp.models.folder import read_weights, write_folder
from fcp.models.settings import FREE_FORMAT


def encoders_of_method(method: FreeMethod) -> tuple[Backbone | None, PromptableSegmenter | None]:
    """Return the backbone and the segmenter that a method reads; None for one that it has not."""
    parts: Any = method
    cells = getattr(parts, "cells", None)
    return getattr(cells, "backbone", None), getattr(parts, "segmenter", None)


def save_on_own(
    method: FreeMethod,
    name: FreeName,
    options: Mapping[str, Any],
    encoders: EncodersConfig,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a method's folder with the weights of the encoders that it reads.

    Args:
        method: Method to save.
        name: Name of the method, without parts.
        options: Options of the method.
        encoders: Settings of its encoders.
        folder: Folder to write; made if missing. An older model in it is replaced.
        dtype: Type of floating tensors on disk; see ``models.folder.write_folder``.

    Raises:
        FcpError: the folder cannot be written, or the disk is full.
    """
    settings = {
        "format": FREE_FORMAT,
        "name": str(name),
        "options": dict(options),
        "encoders": to_dict(_without_places(encoders)),
    }
    backbone, segmenter = encoders_of_method(method)
    write_folder(folder, settings, _named(backbone, segmenter).state_dict(), dtype)


def load_on_own(
    folder: Path, name: FreeName, options: Mapping[str, Any], encoders: EncodersConfig
) -> FreeMethod:
    """Read a folder that ``save_on_own`` wrote: float32, in evaluation mode.

    Args:
        folder: Folder of the method.
        name: Name of the method, without parts.
        options: Options of the method.
        encoders: Settings of its encoders.

    Raises:
        FcpError: a file is missing or damaged, or settings and weights do not fit together.
    """
    weights, builder = folder / WEIGHTS_FILE, find_method(name.method)
    has_cells = builder.image_size is not None
    try:
        backbone = build_backbone(encoders.backbone) if has_cells else None
        segmenter = build_segmenter(encoders.segmenter) if builder.has_segmenter else None
        size = encoders.image_size
        method = build_on(name.method, backbone, segmenter, image_size=size, **options)
    except FcpError as error:
        raise FcpError(f"{folder / CONFIG_FILE}: {error}") from error
    load_strictly(_named(backbone, segmenter), read_weights(weights), weights)
    return method.float()


def _named(backbone: Backbone | None, segmenter: PromptableSegmenter | None) -> nn.ModuleDict:
    parts = {"backbone": backbone, "segmenter": segmenter}
    return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})


def _without_places(encoders: EncodersConfig) -> EncodersConfig:
    """Return the settings without the places of weights, since the folder has them all."""
    backbone, segmenter = encoders.backbone, encoders.segmenter
    return EncodersConfig(
        BackboneConfig(backbone.name, None, backbone.options),
        SegmenterConfig(segmenter.name, None, segmenter.options),
        encoders.image_size,
    )
