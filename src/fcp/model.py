"""FCP: Foreground-Covering Prototype generation and matching (AAAI 2025, arXiv 2501.00752).

Figure 3 from left to right: two frozen encoders → the head → frozen mask decoder, and the
fusion of the shots. ``docs/method.md`` maps the figure's boxes to files.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fcp.config import Fusion, ModelConfig
from fcp.encoders.base import Backbone, PromptableSegmenter
from fcp.errors import FcpError
from fcp.fusion import check_fusion, fuse_logits
from fcp.head import FCPHead
from fcp.structures import (
    BackboneFeatures,
    Embedding,
    Episode,
    HeadOutput,
    Output,
    QueryFeatures,
    SupportSet,
)

MASK_PROMPT_EPSILON = 1e-3
MOST_LOGIT = 7.0  # of a dense prompt: what a probability of 0.999 has


class FCP(nn.Module):
    """Few-shot segmentation: a picture and K examples → a mask. The encoders are frozen.

    Args:
        config: of the whole model.
        backbone: the class-consistent image encoder.
        segmenter: the promptable segmenter.

    Attributes:
        fusion: how K shots become one answer (``fcp.fusion``); the paper's mean at first. It is no
            part of the weights, and holds for supports that are encoded from then on.

    Raises:
        FcpError: the head's width is not the segmenter's.
    """

    def __init__(
        self, config: ModelConfig, backbone: Backbone, segmenter: PromptableSegmenter
    ) -> None:
        super().__init__()
        if config.head.width != segmenter.width:
            raise FcpError(
                f"head.width: is {config.head.width}, but the prompts of segmenter "
                f"{config.segmenter.name!r} have {segmenter.width} channels; set it to that"
            )
        self.config = config
        self.backbone = backbone.requires_grad_(False).eval()
        self.segmenter = segmenter.requires_grad_(False).eval()
        self.head = FCPHead(config.head, backbone.mid_channels, backbone.level_channels)
        self._fusion: Fusion = "mean"

    @property
    def fusion(self) -> Fusion:
        """How K shots become one answer."""
        return self._fusion

    @fusion.setter
    def fusion(self, name: str) -> None:
        """Set it by name; an unknown one is an FcpError."""
        self._fusion = check_fusion(name)

    def train(self, mode: bool = True) -> FCP:
        """Switch the head; the encoders stay as they are, batch norms included."""
        super().train(mode)
        self.backbone.eval()
        self.segmenter.eval()
        return self

    def forward(self, episode: Episode) -> Output:
        """Segment the queries of an episode."""
        support = self.encode_support(episode.support_images, episode.support_masks)
        query = self.encode_query(episode.query_images)
        return self.match(support, query)

    def encode_support(self, images: Tensor, masks: Tensor) -> SupportSet:
        """Encode examples: images (B, K, 3, H, W) in 0 … 1, masks (B, K, H, W) 0 or 1.

        Raises:
            FcpError: a mask has no foreground at all.
        """
        pictures = images.flatten(0, 1)
        features = self.backbone(pictures, masks.flatten(0, 1)[:, None].to(pictures.dtype))
        return self.prepare_support(features, self.segmenter.encode(pictures), masks)

    def encode_query(self, images: Tensor) -> QueryFeatures:
        """Encode query pictures (B, 3, H, W) in 0 … 1."""
        return self.prepare_query(self.backbone(images), self.segmenter.encode(images))

    def prepare_support(
        self, features: BackboneFeatures, embedding: Embedding, masks: Tensor
    ) -> SupportSet:
        """``encode_support`` from encoder outputs of B·K pictures, which training may cache."""
        pooled = self.fusion == "pooled"
        return self.head.prepare_support(features, embedding, masks, pooled=pooled)

    def prepare_query(self, features: BackboneFeatures, embedding: Embedding) -> QueryFeatures:
        """``encode_query`` from encoder outputs of B pictures, which training may cache."""
        return self.head.prepare_query(features, embedding)

    def match(
        self, support: SupportSet, query: QueryFeatures, *, with_maps: bool = False
    ) -> Output:
        """Segment prepared queries.

        Args:
            support: of B tasks, or of one that serves all B queries.
            query: of B pictures.
            with_maps: return the attention maps; training always does.
        """
        found = self.head(support, query, with_maps=with_maps)
        B, K = found.prompts.shape[:2]  # K is 1 where the examples are pooled
        decoded = self.segmenter.decode(
            _repeat(query.embedding, K), found.prompts.flatten(0, 1), self._mask_prompt(found)
        )
        iou = decoded.iou.float().unflatten(0, (B, K))
        # Fusion is linear in the logits, so it commutes with the resize; the smaller maps first.
        logits = fuse_logits(decoded.logits.float().unflatten(0, (B, K)), iou, self.fusion)
        size = (self.config.image_size, self.config.image_size)
        logits = F.interpolate(logits[:, None], size, mode="bilinear", align_corners=True)[:, 0]
        return Output(**vars(found), mask_logits=logits, iou=iou.mean(1))

    def _mask_prompt(self, found: HeadOutput) -> Tensor | None:
        """Return the dense prompt (B·K, 1, h, w), or None of a model that gives tokens alone."""
        if found.correlation is not None:
            return found.correlation.estimates[-1][:, None].clamp(-MOST_LOGIT, MOST_LOGIT)
        if not self.config.head.mask_prompt:
            return None
        shown = found.pseudo_masks.flatten(0, 1)[:, None]
        return shown.clamp(MASK_PROMPT_EPSILON, 1 - MASK_PROMPT_EPSILON).logit()


def _repeat(embedding: Embedding, shots: int) -> Embedding:
    """Repeat each picture's embedding once a shot: B → B·K."""
    if shots == 1:
        return embedding
    return Embedding(
        image=embedding.image.repeat_interleave(shots, 0),
        high_resolution=tuple(m.repeat_interleave(shots, 0) for m in embedding.high_resolution),
    )
