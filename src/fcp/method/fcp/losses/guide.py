"""Guide loss (Eq. 9, 18, 19): attention-based pseudo masks against the query's mask."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fcp.method.fcp.losses.mask import mask_loss_from_probabilities


def guide_loss(attention_masks: Tensor, query_mask: Tensor) -> Tensor:
    """Compare each step's pseudo mask, of each shot, with the mask at grid size.

    Args:
        attention_masks: Attention-based pseudo masks (B, K, T-1, h, w) in 0 … 1; steps and shots
            weigh the same.
        query_mask: Mask of the queries (B, H, W): 0, 1, or 255 for pixels that do not count.

    Returns:
        Scalar; 0 where the head's switches make no such masks.
    """
    _, K, steps, h, w = attention_masks.shape
    if steps == 0:
        return attention_masks.sum()
    on_grid = F.interpolate(query_mask[:, None].float(), (h, w), mode="nearest")[:, 0]
    target = on_grid.repeat_interleave(K * steps, 0)
    return mask_loss_from_probabilities(attention_masks.flatten(0, 2), target)
