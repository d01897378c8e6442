"""Binary cross-entropy plus dice between masks, on logits or on probabilities (Eq. 13, 9).

Both terms are computed in float32, also under autocast. Pixels labelled 255 count in neither term.
Each picture weighs the same, so a batch's loss is the mean of its pictures' losses.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.config import IGNORE

PROBABILITY_EPSILON = 1e-6
DICE_SMOOTHING = 1.0  # keeps pictures without foreground finite


def mask_loss_from_logits(logits: Tensor, target: Tensor) -> Tensor:
    """Compare mask logits (B, …) with target (B, …), 0, 1 or 255: scalar, at least 0."""
    logits = logits.float()
    return _mask_loss(logits.sigmoid(), F.logsigmoid(logits), F.logsigmoid(-logits), target)


def mask_loss_from_probabilities(probabilities: Tensor, target: Tensor) -> Tensor:
    """Compare masks (B, …) in 0 … 1 with target (B, …), 0, 1 or 255: scalar, at least 0.

    Probabilities are clamped by 1e-6 before the logarithm.
    """
    probabilities = probabilities.float()
    clamped = probabilities.clamp(PROBABILITY_EPSILON, 1 - PROBABILITY_EPSILON)
    return _mask_loss(probabilities, clamped.log(), (1 - clamped).log(), target)


def _mask_loss(
    probabilities: Tensor, log_foreground: Tensor, log_background: Tensor, target: Tensor
) -> Tensor:
    counted = (target != IGNORE).float().flatten(1)  # (B, P)
    truth = (target == 1).float().flatten(1)
    entropy = -torch.where(truth > 0, log_foreground.flatten(1), log_background.flatten(1))
    cross_entropy = (entropy * counted).sum(1) / counted.sum(1).clamp(min=1)

    seen = probabilities.flatten(1) * counted
    overlap = (seen * truth).sum(1)
    dice = (2 * overlap + DICE_SMOOTHING) / (seen.sum(1) + truth.sum(1) + DICE_SMOOTHING)
    return (cross_entropy + 1 - dice).mean()
