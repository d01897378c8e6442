"""BCE + dice against loops and torch's own BCE; ignored pixels; half precision."""

import math

import pytest
import torch
import torch.nn.functional as F

from fcp.method.fcp.losses.mask import mask_loss_from_logits, mask_loss_from_probabilities


def naive(probabilities, target):
    losses = []
    for picture, truth in zip(probabilities, target, strict=True):
        entropy, overlap, areas, count = 0.0, 0.0, 0.0, 0
        for p, t in zip(picture.flatten().tolist(), truth.flatten().tolist(), strict=True):
            if t == 255:
                continue
            clamped = min(max(p, 1e-6), 1 - 1e-6)
            entropy -= math.log(clamped) if t == 1 else math.log(1 - clamped)
            overlap, areas, count = overlap + p * t, areas + p + t, count + 1
        losses.append(entropy / count + 1 - (2 * overlap + 1) / (areas + 1))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.long, torch.uint8])
def test_equals_a_loop_without_ignored_pixels(dtype):
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 5) * 3
    target = (torch.rand(3, 4, 5) > 0.6).to(dtype)
    target[torch.rand(3, 4, 5) > 0.8] = 255
    expected = pytest.approx(naive(logits.sigmoid(), target), abs=1e-4)
    assert float(mask_loss_from_logits(logits, target)) == expected
    assert float(mask_loss_from_probabilities(logits.sigmoid(), target)) == expected


def test_cross_entropy_is_torchs():
    logits, target = torch.randn(2, 6), (torch.rand(2, 6) > 0.5).float()
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum(1) + 1) / (p.sum(1) + target.sum(1) + 1)
    expected = F.binary_cross_entropy_with_logits(logits, target) + dice.mean()
    torch.testing.assert_close(mask_loss_from_logits(logits, target), expected)


def test_ignored_pixels_get_no_gradient():
    logits = torch.randn(1, 4, requires_grad=True)
    mask_loss_from_logits(logits, torch.tensor([[1.0, 0.0, 255.0, 1.0]])).backward()
    assert logits.grad[0, 2] == 0
    assert (logits.grad[0, [0, 1, 3]] != 0).all()


def test_perfect_wrong_and_ignored():
    target = torch.tensor([[1.0, 0.0, 1.0]])
    assert mask_loss_from_probabilities(target, target) < 1e-5
    assert mask_loss_from_probabilities(1 - target, target).isfinite()
    assert mask_loss_from_logits(torch.tensor([[1e4, -1e4, 1e4]]), target) < 1e-5
    assert mask_loss_from_logits(torch.tensor([[-1e4, 1e4, 1e4]]), target).isfinite()
    ignored = torch.full((1, 3), 255.0)
    assert mask_loss_from_logits(torch.randn(1, 3), ignored) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_it(dtype):
    p, target = torch.rand(2, 9), (torch.rand(2, 9) > 0.5).float()
    expected = mask_loss_from_probabilities(p, target)
    with torch.autocast("cpu", dtype=dtype):
        assert mask_loss_from_probabilities(p, target) == expected
