"""The guide loss: each step and shot against the mask at grid size."""

import torch

from fcp.method.fcp.losses.guide import guide_loss
from fcp.method.fcp.losses.mask import mask_loss_from_probabilities


def test_equals_a_loop_over_shots_and_steps():
    torch.manual_seed(0)
    masks = torch.rand(2, 3, 2, 4, 4)
    target = (torch.rand(2, 32, 32) > 0.5).long()
    target[:, 8:16] = 255
    losses = [
        mask_loss_from_probabilities(masks[b, k, t][None], target[b, ::8, ::8][None])
        for b in range(2)
        for k in range(3)
        for t in range(2)
    ]
    torch.testing.assert_close(guide_loss(masks, target), sum(losses) / len(losses))


def test_ignored_cells_do_not_count():
    masks = torch.rand(1, 1, 1, 2, 2)
    target = torch.zeros(1, 2, 2)
    target[0, 0, 0] = 255
    changed = masks.clone()
    changed[..., 0, 0] = 1 - changed[..., 0, 0]
    assert guide_loss(masks, target) == guide_loss(changed, target)


def test_no_masks_no_loss():
    assert guide_loss(torch.zeros(2, 1, 0, 4, 4), torch.zeros(2, 8, 8)) == 0
