"""PerSAM-F's only training: two numbers that mix the decoder's three masks of the reference."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 1000
LEARNING_RATE, ADAM_EPSILON, WEIGHT_DECAY = 1e-3, 1e-4, 0.01
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


def mixing_weights(free: Tensor) -> Tensor:
    """Return (1 - w₁ - w₂, w₁, w₂) of the two free weights (2,); any of them may be negative."""
    return torch.cat([1 - free.sum(0, keepdim=True), free])


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 - (2Σpt + 1) / (Σp + Σt + 1) of (…, H, W), mean over the pictures."""
    p, t = logits.sigmoid().flatten(-2), target.flatten(-2)
    return (1 - (2 * (p * t).sum(-1) + 1) / (p.sum(-1) + t.sum(-1) + 1)).mean()


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the focal loss of (…, H, W) with α 0.25 and γ 2, mean over the pixels."""
    p = logits.sigmoid()
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    missed = torch.where(target > 0, 1 - p, p)
    alpha = torch.where(target > 0, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return (alpha * missed**FOCAL_GAMMA * plain).mean()


@torch.inference_mode(False)
@torch.enable_grad()
def fit_weights(logits: Tensor, masks: Tensor, steps: int = STEPS) -> Tensor:
    """Fit the mixing weights to the reference.

    The decoder's masks do not depend on the weights, so it runs once, before.

    Args:
        logits: (K, 3, H, W) of the references, at the masks' size.
        masks: (K, H, W) 0 or 1.
        steps: Number of steps of AdamW, the rate falling to 0 along a cosine.

    Returns:
        (3,) whose sum is 1.
    """
    # Copies, as tensors made in inference mode take no part in a training.
    logits, target = logits.detach().clone(), masks.to(logits.dtype, copy=True)
    free = torch.full((2,), 1 / 3, device=logits.device, requires_grad=True)
    optimizer = torch.optim.AdamW(
        [free], lr=LEARNING_RATE, eps=ADAM_EPSILON, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        mixed = torch.einsum("m,kmhw->khw", mixing_weights(free), logits)
        loss = dice_loss(mixed, target) + focal_loss(mixed, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return mixing_weights(free.detach())
