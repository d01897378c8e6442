"""Segment Anything (arXiv 2304.02643) of transformers as promptable segmenter.

Loaded from a hub id, a folder in transformers' layout, or one of Meta's own ``.pth`` files. The FCP
prompts enter the mask decoder as sparse prompt embeddings; the dense ones are the "no mask"
embedding (method §5) or a mask prompt. The decoder returns one mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel, SamConfig, SamModel

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.guided import Guidance, choose_decoder
from fcp.encoders.hub import ModelT, load_model, make_config, refuse_both
from fcp.encoders.meta import read_sam
from fcp.encoders.pixels import Normalise, resize
from fcp.structures import Decoded, Embedding


class Sam(PromptableSegmenter):
    """SAM as a ``PromptableSegmenter``; SAM 2 and SAM-HQ override the methods that differ.

    Args:
        model: Model of transformers with its own image size (1024 px for the published ones, whose
            embedding is (B, 256, 64, 64)).
    """

    model: Any  # its parts are untyped

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.normalise = Normalise()
        self.width = int(model.config.prompt_encoder_config.hidden_size)
        self.image_size = int(model.config.prompt_encoder_config.image_size)

    def encode(self, images: Tensor) -> Embedding:
        """Encode pictures (B, 3, H, W), RGB in 0 … 1, at the model's own square size."""
        size = (self.image_size, self.image_size)
        return self._embed(self.normalise(resize(images, size)))

    def decode(
        self, embedding: Embedding, prompts: Tensor, mask_prompt: Tensor | None = None
    ) -> Decoded:
        """Draw one mask per picture; see ``PromptableSegmenter``. Logits are 4 × the grid."""
        masks, iou = self.decode_candidates(embedding, prompts, mask_prompt, multimask=False)
        return Decoded(logits=masks[:, 0], iou=iou[:, 0])

    def decode_candidates(
        self,
        embedding: Embedding,
        prompts: Tensor,
        mask_prompt: Tensor | None = None,
        *,
        multimask: bool,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw one or three masks for each prompt; see ``PromptableSegmenter``."""
        if mask_prompt is not None or guidance is not None:  # each prompt has its own picture
            embedding = embedding.repeat(len(prompts) // len(embedding.image))
        decoder = choose_decoder(
            self.model.mask_decoder, len(prompts) // len(embedding.image), guidance
        )
        position = self.model.get_image_wide_positional_embeddings()  # (1, C, h, w)
        masks, iou = decoder(
            image_embeddings=embedding.image,
            image_positional_embeddings=position.expand_as(embedding.image),
            sparse_prompt_embeddings=prompts.unflatten(0, (len(embedding.image), -1)),
            dense_prompt_embeddings=self._dense(mask_prompt),
            multimask_output=multimask,
            **self._decoder_extras(embedding),
        )[:2]
        return masks.flatten(0, 1), iou.flatten(0, 1)

    def embed_prompts(
        self,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Turn points and boxes into tokens; see ``PromptableSegmenter``."""
        encoder = self.model.prompt_encoder
        size = self.image_size
        labels = None
        if points is not None:
            labels = (
                points.new_ones(points.shape[:2]) if point_labels is None else point_labels
            ).int()[:, None]
        sparse, _ = encoder(
            input_points=None if points is None else points[:, None] * size,
            input_labels=labels,
            input_boxes=None if boxes is None else boxes[:, None] * size,
            input_masks=None,
        )
        if sparse is None:
            raise ValueError("embed_prompts needs points or boxes")
        return sparse[:, 0], None

    def _dense(self, mask_prompt: Tensor | None) -> Tensor:
        """Return the dense embedding (B or 1, C, h, w) of a mask prompt, or of "no mask"."""
        encoder = self.model.prompt_encoder
        if mask_prompt is not None:
            size = tuple(4 * side for side in encoder.image_embedding_size)
            mask_prompt = functional.interpolate(mask_prompt, size, mode="bilinear")
        _, dense = encoder(
            input_points=None, input_labels=None, input_boxes=None, input_masks=mask_prompt
        )
        return dense

    def _embed(self, pixels: Tensor) -> Embedding:
        return Embedding(image=self.model.vision_encoder(pixels).last_hidden_state)

    def _decoder_extras(self, embedding: Embedding) -> dict[str, Any]:
        return {}


def build_sam(weights: str | None, *, config: Mapping[str, Any] | None = None) -> Sam:
    """Build SAM.

    Args:
        weights: Hub id, folder in transformers' layout, or Meta's ``sam_vit_{b,l,h}_*.pth``, whose
            size is derived from its weights; None for random weights.
        config: Architecture as in transformers' ``config.json``, only if ``weights`` is None; ViT-B
            by default.

    Raises:
        FcpError: weights that are missing or do not fit, or an impossible architecture.
    """
    return Sam(make_model(SamModel, SamConfig, weights, config))


def make_model(
    model_class: type[ModelT],
    config_class: type[PreTrainedConfig],
    weights: str | None,
    config: Mapping[str, Any] | None,
) -> ModelT:
    """Make a model of the SAM family from a hub id, folder, original file or random weights."""
    refuse_both(weights, config)
    if weights is None:
        return model_class(make_config(config_class, config))
    if Path(weights).expanduser().is_file():
        return read_sam(model_class, config_class, weights)
    return load_model(model_class, weights)
