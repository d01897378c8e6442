"""Orthogonal loss (Eq. 14): different tokens should attend to different places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def orthogonal_loss(attention: Tensor) -> Tensor:
    """Return the mean cosine similarity of different tokens' maps; negative ones count as 0.

    Args:
        attention: Attention maps of one branch (…, N, L), with at least one step.

    Returns:
        Scalar in 0 … 1; 0 for a single token, which has no pair.
    """
    N = attention.shape[-2]
    if N == 1:
        return attention.new_zeros(())
    # Half precision would blur the small differences between maps.
    with torch.autocast(attention.device.type, enabled=False):
        maps = F.normalize(attention.float(), dim=-1)
        similarity = (maps @ maps.mT).clamp(min=0)  # (…, N, N)
    own = similarity.diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((similarity.sum((-2, -1)) - own) / (N * (N - 1))).mean()
