"""SAM-HQ (arXiv 2306.01567) of transformers: SAM whose decoder also takes an early ViT layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import SamHQConfig, SamHQModel

from fcp.encoders.sam import Sam, make_model
from fcp.structures import Embedding


class SamHQ(Sam):
    """SAM-HQ; its mask is the sum of SAM's and of the high-quality token's, as published."""

    def _embed(self, pixels: Tensor) -> Embedding:
        encoded = self.model.vision_encoder(pixels)
        early = encoded.intermediate_embeddings[0]  # (B, h, w, D), the only one decoded
        return Embedding(
            image=encoded.last_hidden_state, high_resolution=(early.permute(0, 3, 1, 2),)
        )

    def _decoder_extras(self, embedding: Embedding) -> dict[str, Any]:
        early = [layer.permute(0, 2, 3, 1) for layer in embedding.high_resolution]
        return {"hq_token_only": False, "intermediate_embeddings": early}


def build_sam_hq(weights: str | None, *, config: Mapping[str, Any] | None = None) -> SamHQ:
    """Build SAM-HQ; ``weights`` may also be ``sam_hq_vit_{b,l,h}.pth``. See ``build_sam``."""
    return SamHQ(make_model(SamHQModel, SamHQConfig, weights, config))
