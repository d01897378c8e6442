"""K shots → one answer, without any training (docs/fusion.md has the measurements).

``mean`` is the paper's: each shot prompts the decoder, and the mask logits are averaged.
``confidence`` weighs these logits by the decoder's estimate of its masks' IoU. ``pooled`` makes one
example of all: its foreground is that of all pictures, so that one set of prompts remains and is
decoded once; ``head.contrast_share`` adds a mask that needs no training to it
(``method/fcp/contrast_mask.py``). With one shot all three are the same.
"""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from fcp.config import Fusion
from fcp.errors import FcpError

DEFAULT_FUSION: Fusion = (
    "pooled"  # for users' examples: better than the mean and cheaper (docs/fusion.md)
)
TEMPERATURE = 0.05  # a mask whose estimated IoU is 0.05 higher weighs e times as much
RULES: dict[Fusion, str] = {
    "mean": "mean of the K mask logits",
    "confidence": (
        "mean of the K mask logits, each weighed by exp(the decoder's own estimate of its IoU / "
        f"{TEMPERATURE})"
    ),
    "pooled": "the K supports as one: tokens and means read the foreground cells of all of them",
}


def check_fusion(name: str) -> Fusion:
    """Return the name as it is, if it is one.

    Raises:
        FcpError: no such fusion.
    """
    for known in get_args(Fusion):
        if name == known:
            return known
    raise FcpError(f"fusion: expected one of {', '.join(RULES)}, got {name!r}")


def fuse_logits(logits: Tensor, iou: Tensor, fusion: Fusion) -> Tensor:
    """Fuse the masks of K shots; pooled examples have only one mask.

    Args:
        logits: Mask logits of each shot (B, K, H', W').
        iou: Decoder's estimate of each mask's IoU (B, K).
        fusion: Rule by which the shots become one answer.

    Returns:
        Mask logits (B, H', W').
    """
    if fusion != "confidence":
        return logits.mean(1)
    weights = (iou / TEMPERATURE).softmax(1)
    return (weights[:, :, None, None] * logits).sum(1)
