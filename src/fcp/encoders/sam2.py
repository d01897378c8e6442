"""SAM 2 (arXiv 2408.00714) of transformers, for single pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, Sam2Config, Sam2Model

from fcp.encoders.hub import load_model, make_config, refuse_both
from fcp.encoders.sam import Sam
from fcp.structures import Embedding


class Sam2(Sam):
    """SAM 2; the decoder also takes its two finer maps, at 2 × and 4 × the grid.

    Args:
        model: Model of transformers. Its switch to another output token when the single mask is
            unstable is turned off: the prompts are trained for one token (method §5).
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.model.mask_decoder.dynamic_multimask_via_stability = False

    def _embed(self, pixels: Tensor) -> Embedding:
        *finer, image = self.model.get_image_embeddings(pixels)
        return Embedding(image=image, high_resolution=tuple(finer))

    def _decoder_extras(self, embedding: Embedding) -> dict[str, Any]:
        return {"high_resolution_features": list(embedding.high_resolution)}


def build_sam2(weights: str | None, *, config: Mapping[str, Any] | None = None) -> Sam2:
    """Build SAM 2.

    Args:
        weights: Hub id, such as ``facebook/sam2.1-hiera-tiny``, or folder in transformers' layout;
            None for random weights.
        config: Architecture as in transformers' ``config.json``, only if ``weights`` is None;
            Hiera-tiny by default.

    Raises:
        FcpError: weights that are missing or do not fit, or an impossible architecture.
    """
    refuse_both(weights, config)
    if weights is None:
        return Sam2(Sam2Model(make_config(Sam2Config, config)))
    return Sam2(load_model(Sam2Model, weights))
