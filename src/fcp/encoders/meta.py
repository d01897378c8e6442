"""Original SAM and SAM-HQ files, converted to the names of transformers.

The names are those of the published checkpoints of segment-anything (``sam_vit_b_01ec64.pth``,
``sam_vit_l_0b3195.pth``, ``sam_vit_h_4b8939.pth``) and sam-hq (``sam_hq_vit_*.pth``). The
architecture is derived from the shapes, so fine-tuned and pruned copies of other sizes load as
well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from fcp.encoders.hub import ModelT
from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.errors import FcpError

_POSITION = "shared_embedding.positional_embedding"
_HEAD = r"(iou_prediction_head|output_hypernetworks_mlps\.\d+|hq_mask_mlp)\.layers\."
_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^image_encoder\.", "vision_encoder."),
        (r"^vision_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
        (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
        (r"\.neck\.0\.", ".neck.conv1."),
        (r"\.neck\.1\.", ".neck.layer_norm1."),
        (r"\.neck\.2\.", ".neck.conv2."),
        (r"\.neck\.3\.", ".neck.layer_norm2."),
        (r"\.norm([1-4_])", r".layer_norm\1"),
        (r"\.pe_layer\.positional_encoding_gaussian_matrix$", f".{_POSITION}"),
        (r"\.point_embeddings\.", ".point_embed."),
        (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
        (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
        (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
        (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
        (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
        (r"\.output_upscaling\.0\.", ".upscale_conv1."),
        (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
        (r"\.output_upscaling\.3\.", ".upscale_conv2."),
        (r"\.hf_token\.", ".hq_token."),
        (r"\.hf_mlp\.", ".hq_mask_mlp."),
        (r"\.compress_vit_feat\.0\.", ".compress_vit_conv1."),
        (r"\.compress_vit_feat\.1\.", ".compress_vit_norm."),
        (r"\.compress_vit_feat\.3\.", ".compress_vit_conv2."),
        (r"\.embedding_encoder\.0\.", ".encoder_conv1."),
        (r"\.embedding_encoder\.1\.", ".encoder_norm."),
        (r"\.embedding_encoder\.3\.", ".encoder_conv2."),
        (r"\.embedding_maskfeature\.0\.", ".mask_conv1."),
        (r"\.embedding_maskfeature\.1\.", ".mask_norm."),
        (r"\.embedding_maskfeature\.3\.", ".mask_conv2."),
        (_HEAD + r"0\.", r"\1.proj_in."),
        (_HEAD + r"1\.", r"\1.layers.0."),
        (_HEAD + r"2\.", r"\1.proj_out."),
    )
)
_CONSTANTS = ("pixel_mean", "pixel_std")


def read_sam(model_class: type[ModelT], config_class: type[PreTrainedConfig], path: str) -> ModelT:
    """Build a SAM or SAM-HQ from an original file.

    Raises:
        FcpError: an entry is missing or does not fit; the message names the file and the first one.
    """
    state = to_transformers(read_state_dict(path))
    try:
        config = config_class(**architecture(state))
    except (KeyError, ValueError, IndexError) as error:
        reason = f"{error} is missing or has an invalid shape"
        raise FcpError(f"{path}: not an original SAM file: {reason}") from error
    with torch.device("meta"):  # saves time and memory for weights that are replaced at once
        model = model_class(config)
    load_strictly(model, state, path, assign=True)
    return model.eval()


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an original file to transformers' names, in float32."""
    renamed = {}
    for original, tensor in state.items():
        name = original
        for pattern, replacement in _RENAMES:
            name = pattern.sub(replacement, name)
        if name not in _CONSTANTS:
            renamed[name] = tensor.float()
    position = renamed.get(f"prompt_encoder.{_POSITION}")
    if position is not None:
        renamed["shared_image_embedding.positional_embedding"] = position
    return renamed


def architecture(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Derive the three configurations of a SAM from its renamed weights.

    Raises:
        KeyError: an entry that every SAM has is missing.
    """
    return {
        "vision_config": _vision(state),
        "prompt_encoder_config": _prompt_encoder(state),
        "mask_decoder_config": _mask_decoder(state),
    }


def _vision(state: Mapping[str, Tensor]) -> dict[str, Any]:
    hidden, _, patch, _ = state["vision_encoder.patch_embed.projection.weight"].shape
    grid = state["vision_encoder.pos_embed"].shape[1]
    depth = _count(state, "vision_encoder.layers")
    positions = [state[f"vision_encoder.layers.{i}.attn.rel_pos_h"] for i in range(depth)]
    spans = [(len(position) + 1) // 2 for position in positions]  # cells under attention
    return {
        "hidden_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden // positions[0].shape[1],
        "image_size": grid * patch,
        "patch_size": patch,
        "window_size": min(spans),
        "global_attn_indexes": [i for i, span in enumerate(spans) if span == grid],
        "mlp_dim": state["vision_encoder.layers.0.mlp.lin1.weight"].shape[0],
        "output_channels": state["vision_encoder.neck.conv1.weight"].shape[0],
        "num_pos_feats": state[f"prompt_encoder.{_POSITION}"].shape[1],
    }


def _prompt_encoder(state: Mapping[str, Tensor]) -> dict[str, Any]:
    vision = _vision(state)
    return {
        "hidden_size": state["prompt_encoder.no_mask_embed.weight"].shape[1],
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "mask_input_channels": state["prompt_encoder.mask_embed.conv2.weight"].shape[0],
    }


def _mask_decoder(state: Mapping[str, Tensor]) -> dict[str, Any]:
    masks, hidden = state["mask_decoder.mask_tokens.weight"].shape
    layer = "mask_decoder.transformer.layers.0"
    inner = state[f"{layer}.cross_attn_token_to_image.q_proj.weight"].shape[0]
    compress = state.get("mask_decoder.compress_vit_conv1.weight")  # SAM-HQ only
    return {
        "hidden_size": hidden,
        "mlp_dim": state[f"{layer}.mlp.lin1.weight"].shape[0],
        "num_hidden_layers": _count(state, "mask_decoder.transformer.layers"),
        "attention_downsample_rate": hidden // inner,
        "num_multimask_outputs": masks - 1,
        "iou_head_hidden_dim": state["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0],
        **({} if compress is None else {"vit_dim": compress.shape[0]}),
    }


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return the number of modules in the list at ``prefix``."""
    start = prefix + "."
    return len({name[len(start) :].split(".")[0] for name in state if name.startswith(start)})
