"""Model folders: ``config.json`` beside ``model.safetensors``; and checkpoints of the authors.

A part whose configuration names weights (a hub id, a file) is loaded from there; a part whose
weights are None is stored in the folder, and so is the head in all cases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fcp.checks import from_dict, to_dict
from fcp.config import BackboneConfig, HeadConfig, ModelConfig, SegmenterConfig
from fcp.encoders import build_backbone, build_segmenter
from fcp.encoders.base import Backbone
from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.errors import FcpError
from fcp.method.fcp.heads import build_head
from fcp.method.fcp.model import FCP
from fcp.models.files import CONFIG_FILE, WEIGHTS_FILE
from fcp.models.folder import read_weights, write_folder
from fcp.models.settings import FCP_FORMAT, read_settings

# Prefixes of the authors' names (method.md §11) → ours; the last part of a name stays.
_DECODER = "transformer_decoder."
_HEAD_NAMES = {
    "downsample_query.0.": "features.F.project.0.",
    "downsample_sam_query.0.": "features.G.project.0.",
    f"{_DECODER}merge.0.": "features.F.merge.",
    f"{_DECODER}merge_sam_and_mask.0.": "features.G.merge.",
    f"{_DECODER}spt_protos.weight": "support.tokens",
    f"{_DECODER}qry_protos.weight": "query.tokens",
    f"{_DECODER}transformer_cross_attention_layers_spt.": "support.layers.",
    f"{_DECODER}transformer_cross_attention_layers_qry.": "query.layers.",
    f"{_DECODER}transformer_cross_attention_layers_1.0.": "matching.cross_attention.",
    f"{_DECODER}transformer_self_attention_layers_1.0.": "matching.self_attention.",
}
_BACKBONE_ENTRY = re.compile(r"layer[0-4]\.\d+\.")
_RESNETS = {6: "resnet50", 23: "resnet101"}  # by the number of bottlenecks of stage 3
_PUBLISHED_SAM = SegmenterConfig(name="sam", weights="facebook/sam-vit-huge")


def save_model(
    model: FCP,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    image_size: int | None = None,
) -> None:
    """Write a model folder; each of its files is complete or absent.

    Args:
        model: Model to save.
        folder: Folder to write; made if missing. An older model in it is replaced and its
            ``presence.json`` is removed.
        dtype: Type of floating tensors on disk; a tensor with values outside its range keeps its
            own.
        image_size: Side of the square pictures that the saved model takes, px; None for the
            model's.

    Raises:
        FcpError: the folder cannot be written, or the disk is full.
    """
    config = replace(model.config, image_size=image_size or model.config.image_size)
    state = nn.ModuleDict(_stored_parts(model)).state_dict()
    write_folder(folder, {"format": FCP_FORMAT, **to_dict(config)}, state, dtype)


def load_model(folder: Path, *, device: str | torch.device = "cpu") -> FCP:
    """Read a model folder: float32, in evaluation mode, on the device.

    Raises:
        FcpError: a file is missing or damaged, or configuration and weights do not fit together;
            the message names the file and the first entries that do not fit.
    """
    config = read_config(folder / CONFIG_FILE)
    weights = folder / WEIGHTS_FILE
    state = read_weights(weights)
    model = _build(config, folder / CONFIG_FILE).float()  # whatever torch's default type is
    load_strictly(nn.ModuleDict(_stored_parts(model)), state, weights)
    return model.to(device).eval()


def read_config(path: Path) -> ModelConfig:
    """Read the settings of a model's folder.

    Raises:
        FcpError: missing or damaged, or of another format.
    """
    return from_dict(ModelConfig, read_settings(path, FCP_FORMAT), str(path))


def _build(config: ModelConfig, path: Path) -> FCP:
    """Build the model that a file describes.

    Raises:
        FcpError: no model can be built from it.
    """
    try:
        return FCP(config, build_backbone(config.backbone), build_segmenter(config.segmenter))
    except FcpError as error:
        raise FcpError(f"{path}: {error}") from error
    except Exception as error:  # what the libraries raise on sizes that do not fit together
        raise FcpError(f"{path}: no model can be built of these settings ({error})") from error


def import_checkpoint(
    file: Path, out: Path, *, segmenter: SegmenterConfig = _PUBLISHED_SAM
) -> None:
    """Turn a checkpoint of the authors' program into a model folder that gives the same outputs.

    T, N and C are derived from the tensors' shapes, the kind of backbone from their names. The
    backbone's weights are stored in the new folder; SAM's are not in a checkpoint.

    Args:
        file: Checkpoint with a ``state_dict``, with or without the prefix ``module.``.
        out: Folder of the new model.
        segmenter: Configuration of the SAM that the checkpoint was trained with; names its weights.

    Raises:
        FcpError: the file is damaged, or not such a checkpoint; the message names the entries that
            do not fit.
    """
    if segmenter.weights is None:
        raise FcpError(
            f"segmenter.weights: {file} does not hold them; name a hub id, a folder or a file"
        )
    state = read_state_dict(file)
    backbone_state = {n: t for n, t in state.items() if _BACKBONE_ENTRY.match(n)}
    head_state = {_own_name(n): t for n, t in state.items() if n not in backbone_state}
    # A 1×1 convolution is a matrix here.
    head_state = {n: t.flatten(1) if t.ndim == 4 else t for n, t in head_state.items()}

    config = ModelConfig(
        head=_head_config(head_state, file),
        backbone=_backbone_config(backbone_state, file),
        segmenter=segmenter,
    )
    backbone = build_backbone(config.backbone)
    load_strictly(backbone, _in_order(backbone_state, backbone), file)
    head = build_head(config.head, backbone.mid_channels)
    load_strictly(head, head_state, file)
    parts = nn.ModuleDict({"head": head, "backbone": backbone})
    write_folder(out, {"format": FCP_FORMAT, **to_dict(config)}, parts.state_dict())


def _stored_parts(model: FCP) -> dict[str, nn.Module]:
    """Return the parts that are stored in the model's own folder."""
    parts: dict[str, nn.Module] = {"head": model.head}
    if model.config.backbone.weights is None:
        parts["backbone"] = model.backbone
    if model.config.segmenter.weights is None:
        parts["segmenter"] = model.segmenter
    return parts


def _own_name(name: str) -> str:
    """Rename an entry of the authors' head; an unknown name stays, and is refused on loading."""
    for theirs, ours in _HEAD_NAMES.items():
        if name.startswith(theirs):
            rest = name.removeprefix(theirs)
            return ours + rest.replace("multihead_attn.", "").replace("self_attn.", "")
    return name


def _head_config(state: Mapping[str, Tensor], file: Path) -> HeadConfig:
    tokens = state.get("support.tokens")
    if tokens is None or tokens.ndim != 2:
        raise FcpError(
            f"{file}: no checkpoint of the authors' program: {_DECODER}spt_protos.weight is"
            " missing; --method reads those of other methods"
        )
    steps = {name.split(".")[2] for name in state if name.startswith("support.layers.")}
    sizes = {"width": tokens.shape[1], "tokens": tokens.shape[0], "steps": max(len(steps), 1)}
    return from_dict(HeadConfig, sizes, str(file))


def _backbone_config(state: Mapping[str, Tensor], file: Path) -> BackboneConfig:
    first = state.get("layer0.0.weight")
    if first is None or first.ndim != 4:
        raise FcpError(f"{file}: no checkpoint of the authors' program: has no layer0.0.weight")
    if "layer1.0.conv1.weight" not in state:
        return BackboneConfig(name="vgg16_bn")
    blocks = len({name.split(".")[1] for name in state if name.startswith("layer3.")})
    if blocks not in _RESNETS:
        raise FcpError(f"{file}: stage 3 has {blocks} blocks; ResNet-50 has 6, ResNet-101 has 23")
    stem = "7x7" if first.shape[-1] == 7 else "3conv"
    return BackboneConfig(name=_RESNETS[blocks], options={"stem": stem})


def _in_order(state: Mapping[str, Tensor], backbone: Backbone) -> dict[str, Tensor]:
    """Rename ``layerS.I.…`` so that the layers of each stage are numbered as ours.

    A slice of torchvision's VGG keeps its numbers (layer1.7) or starts from 0, depending on how it
    was cut; the order is the same.
    """
    theirs, ours = _numbers(state), _numbers(backbone.state_dict())
    renamed = {}
    for name, tensor in state.items():
        stage, number, field = name.split(".", 2)
        place = theirs[stage].index(int(number))
        known = ours.get(stage, [])
        own = known[place] if place < len(known) else number
        renamed[f"{stage}.{own}.{field}"] = tensor
    return renamed


def _numbers(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Return the sorted layer numbers of each stage."""
    numbers: dict[str, set[int]] = {}
    for name in state:
        stage, number, _ = name.split(".", 2)
        numbers.setdefault(stage, set()).add(int(number))
    return {stage: sorted(found) for stage, found in numbers.items()}
