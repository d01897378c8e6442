"""Toy-size architectures of the SAM family, and pictures to run them on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

PROMPT_ENCODER = {"hidden_size": 16, "image_size": 64, "patch_size": 8}
MASK_DECODER = {"hidden_size": 16, "mlp_dim": 24, "iou_head_hidden_dim": 12}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
    "window_size": 3,
    "global_attn_indexes": [1],
    "mlp_dim": 48,
    "output_channels": 16,
    "num_pos_feats": 8,
}
HIERA = {
    "backbone_config": {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    },
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    "fpn_hidden_size": 16,
}


@pytest.fixture
def sam_configs() -> dict[str, dict[str, Any]]:
    """Configuration of a toy model for each name of the SAM family."""
    return {
        "sam": {
            "vision_config": VIT,
            "prompt_encoder_config": PROMPT_ENCODER,
            "mask_decoder_config": MASK_DECODER,
        },
        "sam_hq": {
            "vision_config": VIT,
            "prompt_encoder_config": PROMPT_ENCODER,
            "mask_decoder_config": {**MASK_DECODER, "vit_dim": 32},
        },
        "sam2": {
            "vision_config": HIERA,
            "prompt_encoder_config": {**PROMPT_ENCODER, "patch_size": 16},
            "mask_decoder_config": MASK_DECODER,
        },
    }


@pytest.fixture
def images() -> Tensor:
    """Two pictures (2, 3, 64, 64) in 0 … 1."""
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> Tensor:
    """A box and a single pixel that vanishes on every grid, (2, 1, 64, 64)."""
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 8:40, 16:56] = 1
    mask[1, :, 37, 21] = 1
    return mask


@pytest.fixture
def randomise() -> Any:
    """Give every parameter and batch norm's statistics values that matter."""

    def fill(module: nn.Module) -> None:
        generator = torch.Generator().manual_seed(1)
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                scale = 0.05 if tensor.ndim < 2 else tensor[0].numel() ** -0.5
                one = tensor.ndim == 1 and name.endswith((".weight", "running_var"))
                tensor.copy_((1 + scale * noise.clamp(-3, 3)) if one else scale * noise)

    return fill
