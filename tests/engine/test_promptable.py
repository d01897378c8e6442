"""The class-agnostic stage: losses against loops, frozen statistics, a step that teaches."""

import pytest
import torch
import torch.nn.functional as F

from fcp.encoders.tiny import TinySegmenter
from fcp.engine.promptable import (
    PromptableStage,
    candidate_losses,
    draw_error_points,
)
from fcp.structures import Embedding


def test_losses_are_those_of_the_best_candidate():
    torch.manual_seed(0)
    logits, iou = torch.randn(3, 2, 6, 6), torch.rand(3, 2)
    targets = (torch.rand(3, 6, 6) > 0.5).float()
    valid = (torch.rand(3, 6, 6) > 0.2).float()
    terms, best = candidate_losses(logits, iou, targets, valid)
    bce, dice, error = [], [], []
    for n in range(3):
        candidates = []
        for c in range(2):
            known = valid[n] > 0
            x, t = logits[n, c][known], targets[n][known]
            p = x.sigmoid()
            one_dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
            candidates.append((F.binary_cross_entropy_with_logits(x, t), one_dice, logits[n, c]))
            both, either = ((x > 0) & (t > 0)).sum(), ((x > 0) | (t > 0)).sum()
            error.append((iou[n, c] - both / either) ** 2)
        chosen = min(candidates, key=lambda pair: pair[0] + pair[1])
        bce.append(chosen[0])
        dice.append(chosen[1])
        assert torch.equal(best[n], chosen[2])
    torch.testing.assert_close(terms["bce"], torch.stack(bce).mean())
    torch.testing.assert_close(terms["dice"], torch.stack(dice).mean())
    torch.testing.assert_close(terms["iou"], torch.stack(error).mean())


def test_error_points_are_wrong_pixels_with_the_true_label():
    torch.manual_seed(0)
    targets = (torch.rand(8, 10, 12) > 0.5).float()
    logits = torch.randn(8, 10, 12)
    points, labels = draw_error_points(logits, targets, torch.ones_like(targets))
    assert points.shape == (8, 1, 2)
    assert labels.shape == (8, 1)
    for n in range(8):
        x, y = int(points[n, 0, 0] * 12), int(points[n, 0, 1] * 10)
        assert (logits[n, y, x] > 0) != (targets[n, y, x] > 0)
        assert labels[n, 0] == targets[n, y, x]


def test_repeat_keeps_pictures_together():
    embedding = Embedding(torch.arange(2.0).view(2, 1, 1, 1), (torch.rand(2, 1, 2, 2),))
    assert embedding.repeat(3).image.flatten().tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("kind", ["point", "box+mask"])
def test_a_step_moves_what_learns_and_no_statistics(kind):
    torch.manual_seed(0)
    model = TinySegmenter(width=16, image_size=64, decoder_width=16).train()
    stage = PromptableStage(model, batches=None)
    fresh, trunk = stage.fresh_and_pretrained()
    assert len(fresh) + len(trunk) == sum(p.requires_grad for p in model.parameters())
    statistics = {n: b.clone() for n, b in model.named_buffers() if "running" in n}
    targets = (torch.rand(4, 32, 32) > 0.5).float()
    batch = {
        "images": torch.rand(2, 3, 64, 64),
        "targets": targets,
        "valid": torch.ones_like(targets),
        "kind": kind,
        "correct": kind == "point",
        "points": torch.rand(4, 5, 2),
        "point_labels": torch.ones(4, 5),
        "boxes": torch.rand(4, 4),
        "coarse": torch.randn(4, 1, 8, 8),
    }
    optimizer = torch.optim.AdamW(fresh + trunk, lr=3e-3)
    totals = []
    for _ in range(12):
        terms = stage.losses(batch)
        torch.testing.assert_close(terms["total"], terms["bce"] + terms["dice"] + terms["iou"])
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
        totals.append(float(terms["total"].detach()))
    assert min(totals[-3:]) < totals[0]
    for name, buffer in model.named_buffers():
        if name in statistics:
            torch.testing.assert_close(buffer, statistics[name], rtol=0, atol=0)
