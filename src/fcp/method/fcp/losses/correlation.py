"""Loss of the correlation's estimates (ours), whose target is the query's mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from fcp.method.fcp.losses.mask import mask_loss_from_logits

FINEST_FACTOR = 2  # side of the target over that of the finest estimate
COARSE_WEIGHT = 0.5


def correlation_loss(estimates: Sequence[Tensor], query_mask: Tensor) -> Tensor:
    """Compare each estimate with the mask at twice the finest one's size.

    Args:
        estimates: Mask logits (B, h, w) of each estimate, coarse to fine; all but the last count
            half.
        query_mask: Mask of the queries (B, H, W): 0, 1, or 255 for pixels that do not count.

    Returns:
        Scalar, at least 0.
    """
    height, width = estimates[-1].shape[-2:]
    size = (FINEST_FACTOR * height, FINEST_FACTOR * width)
    target = F.interpolate(query_mask[:, None].float(), size, mode="nearest")[:, 0]
    weights = [COARSE_WEIGHT] * (len(estimates) - 1) + [1.0]
    losses = [
        weight
        * mask_loss_from_logits(F.interpolate(one[:, None], size, mode="bilinear")[:, 0], target)
        for weight, one in zip(weights, estimates, strict=True)
    ]
    return sum(losses, start=estimates[-1].new_zeros(()))
