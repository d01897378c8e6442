"""The heads by name, and a head on ready-made feature maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fcp.config import HeadConfig, Matching
from fcp.method.fcp.head import FCPHead
from fcp.method.fcp.prompt_head import PromptHead
from fcp.method.fcp.vrp_head import VRPHead
from fcp.structures import BackboneFeatures, Embedding, HeadOutput

HEADS: dict[Matching, type[FCPHead] | type[VRPHead]] = {"prototype": FCPHead, "pixel": VRPHead}


def build_head(
    config: HeadConfig, mid_channels: int, level_channels: Sequence[int] = ()
) -> FCPHead | VRPHead:
    """Build the head that a configuration asks for.

    Args:
        config: Sizes and switches.
        mid_channels: Cm, channels of the backbone's mid-level map.
        level_channels: Channels of the backbone's levels, which a head with correlation needs.

    Raises:
        FcpError: ``contrast_levels`` do not sum to Cm, or levels are missing.
    """
    return HEADS[config.matching](config, mid_channels, level_channels)


def run_head(
    head: PromptHead,
    *,
    support_mid: Tensor,
    support_high: Tensor,
    support_sam: Tensor,
    support_mask: Tensor,
    query_mid: Tensor,
    query_high: Tensor,
    query_sam: Tensor,
    with_maps: bool = True,
    pooled: bool = False,
) -> HeadOutput:
    """Run the head on ready-made feature maps, without any encoder.

    The maps of one shot may come without their axis K.

    Examples:
        >>> import torch
        >>> head = build_head(HeadConfig(width=16, tokens=4), mid_channels=6).eval()
        >>> maps = {
        ...     f"{picture}_{name}": torch.rand(1, channels, 8, 8)
        ...     for picture in ("support", "query")
        ...     for name, channels in (("mid", 6), ("high", 5), ("sam", 16))
        ... }
        >>> run_head(head, **maps, support_mask=torch.ones(1, 64, 64)).prompts.shape
        torch.Size([1, 1, 4, 16])

    Args:
        head: Head to run, in its present mode.
        support_mid: Backbone maps F of the supports before their projection (B, K, Cm, h, w).
        support_high: Stage-4 maps of the supports, run under the mask (B, K, Ch, h, w).
        support_sam: Segmenter's embeddings G of the supports (B, K, C, h, w).
        support_mask: Masks of the supports (B, K, H, W), 0 or 1, of any size.
        query_mid: Backbone maps F of the queries before their projection (B, Cm, h, w).
        query_high: Stage-4 maps of the queries (B, Ch, h, w).
        query_sam: Segmenter's embeddings G of the queries (B, C, h, w).
        with_maps: Whether the attention maps are returned.
        pooled: Whether the K examples are pooled into one.

    Raises:
        FcpError: a mask has no foreground at all.
    """
    mid, high, sam = (
        maps.flatten(0, 1) if maps.ndim == 5 else maps
        for maps in (support_mid, support_high, support_sam)
    )
    masks = support_mask if support_mask.ndim == 4 else support_mask[:, None]
    support = head.prepare_support(
        BackboneFeatures(mid, high),
        Embedding(sam),
        masks,
        fusion="pooled" if pooled else "mean",
    )
    query = head.prepare_query(BackboneFeatures(query_mid, query_high), Embedding(query_sam))
    output: HeadOutput = head(support, query, with_maps=with_maps)
    return output
