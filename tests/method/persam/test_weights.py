"""PerSAM-F's two weights: the losses by hand, and a mixture that is found again."""

from __future__ import annotations

import math

import pytest
import torch

from fcp.method.persam.weights import dice_loss, fit_weights, focal_loss, mixing_weights


def test_losses_by_hand():
    logits = torch.tensor([[2.0, -1.0], [0.5, -3.0]])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    p = [1 / (1 + math.exp(-x)) for x in logits.flatten().tolist()]
    t = target.flatten().tolist()
    dice = 1 - (2 * sum(a * b for a, b in zip(p, t, strict=True)) + 1) / (sum(p) + sum(t) + 1)
    focal = [
        0.25 * (1 - a) ** 2 * -math.log(a) if b else 0.75 * a**2 * -math.log(1 - a)
        for a, b in zip(p, t, strict=True)
    ]
    assert float(dice_loss(logits, target)) == pytest.approx(dice, abs=1e-6)
    assert float(focal_loss(logits, target)) == pytest.approx(sum(focal) / 4, abs=1e-6)


def test_weights_sum_to_one_and_start_at_a_third():
    assert mixing_weights(torch.tensor([0.8, 0.5])).tolist() == pytest.approx([-0.3, 0.8, 0.5])
    logits = torch.zeros(1, 3, 4, 4)  # nothing to learn from but the weight decay
    torch.testing.assert_close(
        fit_weights(logits, torch.ones(1, 4, 4), 1)[1:], torch.full((2,), 1 / 3), atol=1e-4, rtol=0
    )


def test_the_mask_that_fits_gains_weight():
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(1, 16, 16, generator=generator) > 0.5).float()
    noise = torch.randn(1, 3, 16, 16, generator=generator)
    for good in range(3):
        logits = noise.clone()
        logits[:, good] = 4 * (2 * truth - 1)
        weights = fit_weights(logits, truth, 60)
        assert weights.argmax() == good
        assert float(weights.sum()) == pytest.approx(1, abs=1e-6)
    wrong = noise.clone()
    wrong[:, 0] = 4 * (1 - 2 * truth)
    wrong[:, 1] = 4 * (2 * truth - 1)
    assert fit_weights(wrong, truth, 300)[0] < 0.2


def test_fit_is_adamw_on_a_cosine():
    """The same optimisation, written with the closed-form updates of AdamW."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 8, 8, generator=generator)
    truth = (torch.rand(1, 8, 8, generator=generator) > 0.5).float()
    w = torch.full((2,), 1 / 3)
    first, second = torch.zeros(2), torch.zeros(2)
    for step in range(20):
        w = w.detach().requires_grad_(True)
        mixed = (1 - w[0] - w[1]) * logits[:, 0] + w[0] * logits[:, 1] + w[1] * logits[:, 2]
        (grad,) = torch.autograd.grad(dice_loss(mixed, truth) + focal_loss(mixed, truth), w)
        rate = 1e-3 * (1 + math.cos(math.pi * step / 20)) / 2
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        up = first / (1 - 0.9 ** (step + 1))
        down = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-4
        w = w.detach() * (1 - rate * 0.01) - rate * up / down
    torch.testing.assert_close(fit_weights(logits, truth, 20)[1:], w, atol=1e-6, rtol=0)
