"""The nouns that cross a module's border, as frozen dataclasses with their shapes.

Letters: B batch, K shots, N tokens, T steps, C width, h w feature grid, L = h·w, H W picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class BackboneFeatures:
    """What the class-consistent backbone sees in a batch of pictures, on one grid.

    Attributes:
        mid: (B, Cm, h, w) mid-level maps, concatenated: F before its projection.
        high: (B, Ch, h, w) stage-4 map; it serves only the conventional pseudo mask (Eq. 5).
            For a support picture stage 4 ran on stage-3 features multiplied by the mask.
    """

    mid: Tensor
    high: Tensor


@dataclass(frozen=True)
class Embedding:
    """What the promptable segmenter's image encoder sees in a batch of pictures.

    Attributes:
        image: (B, C, h, w) the embedding: G.
        high_resolution: finer maps for decoders that take them (SAM 2, SAM-HQ, tiny); else empty.
    """

    image: Tensor
    high_resolution: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """What the mask decoder answers.

    Attributes:
        logits: (B, H', W') low-resolution mask logits; > 0 is foreground.
        iou: (B,) the decoder's own estimate of its mask's IoU, about 0 … 1.
    """

    logits: Tensor
    iou: Tensor


@dataclass(frozen=True)
class Episode:
    """One batch of few-shot tasks. The query carries no mask: the model cannot see it.

    Attributes:
        support_images: (B, K, 3, H, W) RGB in 0 … 1.
        support_masks: (B, K, H, W) 0 or 1.
        query_images: (B, 3, H, W) RGB in 0 … 1.
    """

    support_images: Tensor
    support_masks: Tensor
    query_images: Tensor
