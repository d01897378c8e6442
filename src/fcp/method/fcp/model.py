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
from fcp.method.fcp import contrast_mask
from fcp.method.fcp.heads import build_head
from fcp.method.fusion import fuse_logits
from fcp.structures import Decoded, Episode, HeadOutput, Output, QueryFeatures, SupportSet

MASK_PROMPT_EPSILON = 1e-3
MOST_LOGIT = 7.0  # largest logit of a dense prompt, that of a probability of 0.999


class FCP(nn.Module):
    """Few-shot segmentation: a picture and K examples → a mask. The encoders are frozen.

    Examples:
        >>> import torch
        >>> from fcp.config import BackboneConfig, HeadConfig, SegmenterConfig
        >>> from fcp.encoders import build_backbone, build_segmenter
        >>> parts = ModelConfig(
        ...     head=HeadConfig(width=16, tokens=4),
        ...     backbone=BackboneConfig("efficientnet_lite", options={"size": 0}),
        ...     segmenter=SegmenterConfig("tiny", options={"width": 16, "decoder_width": 16}),
        ...     image_size=64,
        ... )
        >>> model = FCP(parts, build_backbone(parts.backbone), build_segmenter(parts.segmenter))
        >>> masks = torch.zeros(1, 2, 64, 64)
        >>> masks[..., 16:48, 16:48] = 1
        >>> pictures = torch.rand(1, 2, 3, 64, 64), masks, torch.rand(1, 3, 64, 64)
        >>> model.eval()(Episode(*pictures)).mask_logits.shape
        torch.Size([1, 64, 64])

    Args:
        config: Settings of head and encoders.
        backbone: Class-consistent image encoder.
        segmenter: Promptable segmenter.

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
        self.head = build_head(config.head, backbone.mid_channels, backbone.level_channels)

    def train(self, mode: bool = True) -> FCP:
        """Set the head's mode; the encoders stay in evaluation mode, batch norms included."""
        super().train(mode)
        self.backbone.eval()
        self.segmenter.eval()
        return self

    def forward(
        self, episode: Episode, *, fusion: Fusion = "mean", with_maps: bool = False
    ) -> Output:
        """Segment the queries of an episode.

        Args:
            episode: Pictures of B supports and queries, and the supports' masks.
            fusion: Rule by which the K examples become one answer (``fcp.method.fusion``).
            with_maps: Whether the attention maps are returned, which the losses need.
        """
        support = self.encode_support(episode.support_images, episode.support_masks, fusion=fusion)
        query = self.encode_query(episode.query_images)
        return self.match(support, query, with_maps=with_maps)

    def encode_support(
        self, images: Tensor, masks: Tensor, *, fusion: Fusion = "mean"
    ) -> SupportSet:
        """Encode examples.

        Args:
            images: RGB pictures of the examples (B, K, 3, H, W) in 0 … 1.
            masks: Masks of the examples (B, K, H, W), 0 or 1.
            fusion: Rule by which the K examples become one answer (``fcp.method.fusion``).

        Raises:
            FcpError: a mask has no foreground at all.
        """
        pictures = images.flatten(0, 1)
        features = self.backbone(pictures, masks.flatten(0, 1)[:, None].to(pictures.dtype))
        embedding = self.segmenter.encode(pictures)
        return self.head.prepare_support(features, embedding, masks, fusion=fusion)

    def encode_query(self, images: Tensor) -> QueryFeatures:
        """Encode query pictures (B, 3, H, W) in 0 … 1."""
        return self.head.prepare_query(self.backbone(images), self.segmenter.encode(images))

    def match(
        self, support: SupportSet, query: QueryFeatures, *, with_maps: bool = False
    ) -> Output:
        """Segment encoded queries.

        Args:
            support: Support of B tasks, or of a single one for all B queries.
            query: Features of B pictures.
            with_maps: Whether the attention maps are returned, which the losses need.
        """
        found = self.head(support, query, with_maps=with_maps)
        B, K = found.prompts.shape[:2]  # K is 1 where the examples are pooled
        decoded = self._decode(found, query)
        iou = decoded.iou.float().unflatten(0, (B, K))
        # Fusion is linear in the logits, so it commutes with the resize; the smaller maps first.
        # The mix below is not linear, and is defined on the smaller maps.
        logits = fuse_logits(decoded.logits.float().unflatten(0, (B, K)), iou, support.fusion)
        if support.contrast_mask is not None:
            maps = contrast_mask.compare(support.contrast_mask, query)
            drawn = contrast_mask.draw(self.segmenter, maps, query.embedding)
            share = self.config.head.contrast_share * (1 - 1 / support.grid_mask.shape[1])
            logits = contrast_mask.mix(logits, drawn, share)
        size = (self.config.image_size, self.config.image_size)
        logits = F.interpolate(logits[:, None], size, mode="bilinear", align_corners=True)[:, 0]
        return Output(**vars(found), mask_logits=logits, iou=iou.mean(1))

    def _decode(self, found: HeadOutput, query: QueryFeatures) -> Decoded:
        """Draw the masks of S = B·K pairs by the promptable segmenter, or by the head's own."""
        if self.head.decoder is not None:
            drawn: Decoded = self.head.decoder(found, query)
            return drawn
        embedding = query.embedding.repeat(found.prompts.shape[1])
        prompts = found.prompts.flatten(0, 1)
        return self.segmenter.decode(embedding, prompts, self._mask_prompt(found))

    def _mask_prompt(self, found: HeadOutput) -> Tensor | None:
        """Return the dense prompt (B·K, 1, h, w); None for a model that prompts by tokens alone."""
        if found.correlation is not None:
            return found.correlation.estimates[-1][:, None].clamp(-MOST_LOGIT, MOST_LOGIT)
        if not self.config.head.mask_prompt:
            return None
        shown = found.pseudo_masks.flatten(0, 1)[:, None]
        return shown.clamp(MASK_PROMPT_EPSILON, 1 - MASK_PROMPT_EPSILON).logit()
