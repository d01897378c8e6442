"""Each level's correlation learns from the level below it, the coarsest from the mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

OUTSIDE = -1e9  # of the mask as a teacher
LOG_EPSILON = 1e-12


def distillation_loss(correlations: Sequence[Tensor], masks: Tensor) -> Tensor:
    """Sum the divergence of each level from its teacher (table1.md §4).

    Args:
        correlations: (B, h, w) of each level, fine to coarse.
        masks: (B, H, W); 1 is object.

    Returns:
        Scalar: sum over the levels of the mean over the batch.
    """
    teacher = torch.where(masks == 1, 1.0, OUTSIDE)
    losses = []
    for student in reversed(correlations):
        shown = F.interpolate(teacher[:, None], student.shape[1:], mode="bilinear")
        losses.append(divergence(shown.flatten(1), student.float().flatten(1)))
        teacher = student.detach().float()
    return torch.stack(losses).sum()


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Compare scores (B, L), as distributions over cells: Kullback–Leibler, mean over the batch."""
    t, s = teacher.softmax(1), student.softmax(1)
    return (t * ((t + LOG_EPSILON).log() - (s + LOG_EPSILON).log())).sum(1).mean()
