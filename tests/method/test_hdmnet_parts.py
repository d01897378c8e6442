"""What must hold for the parts of HDMNet."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fcp.method.bam.base_learner import BaseLearner
from fcp.method.hdmnet.distillation import distillation_loss
from fcp.method.hdmnet.hierarchy import Hierarchy
from fcp.method.hdmnet.matching import Matching
from fcp.method.hdmnet.model import HDMNet


@pytest.fixture
def toy(toy_backbone):
    def make(**options):
        torch.manual_seed(0)
        learner = BaseLearner(6, 3, width=4)
        sizes = {"width": 8, "token_width": 16, "inner": 8}
        return HDMNet(toy_backbone, learner, **sizes, **options)

    return make


@torch.no_grad()
def test_background_of_the_support_is_not_seen(toy, episode):
    model, task = toy().eval(), episode(72, 2)
    query = model.encode_query(task.query_images)
    before = model.match(model.encode_support(task.support_images, task.support_masks), query)
    outside = (task.support_masks != 1)[:, :, None].expand_as(task.support_images)
    task.support_images[outside] = torch.rand(int(outside.sum()))
    after = model.match(model.encode_support(task.support_images, task.support_masks), query)
    assert torch.equal(after.logits, before.logits)


def test_levels_halve_the_grid():
    found = Hierarchy(16)(torch.rand(2, 16, 9, 12))
    assert [tuple(x.shape) for x in found] == [(2, 16, 9, 12), (2, 16, 5, 6), (2, 16, 3, 3)]


@torch.no_grad()
def test_closed_keys_are_never_read():
    torch.manual_seed(0)
    layer, query, support = Matching(16).eval(), torch.rand(1, 16, 3, 3), torch.rand(1, 6, 16)
    inside = torch.tensor([[1.0, 1, 0, 0, 1, 0]])
    before = layer(query, support, inside)
    support[:, inside[0] == 0] = 9 * torch.rand(3, 16)
    for ours, theirs in zip(before, layer(query, support, inside), strict=True):
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_shots_add_up():
    """The softmax is over queries: a support given twice is read twice."""
    torch.manual_seed(0)
    layer = Matching(16).eval()
    layer.feed.reduce.weight.zero_()
    layer.feed.reduce.bias.zero_()
    query, support, inside = torch.rand(1, 16, 3, 3), torch.rand(1, 4, 16), torch.ones(1, 4)
    once, r1 = layer(query, support, inside)
    twice, r2 = layer(query, support.repeat(1, 2, 1), inside.repeat(1, 2))
    torch.testing.assert_close(twice - query, 2 * (once - query))
    torch.testing.assert_close(r1, r2)


def test_perfect_levels_lose_nothing_and_teachers_do_not_learn():
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6, 2:6] = 1
    coarse = torch.where(mask[:, ::2, ::2] == 1, 1.0, -50.0).requires_grad_()
    fine = F.interpolate(coarse.detach()[:, None], (8, 8), mode="bilinear")[:, 0].requires_grad_()
    loss = distillation_loss([fine, coarse], mask)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    worse = torch.zeros(1, 8, 8, requires_grad=True)
    alone = torch.zeros(1, 4, 4, requires_grad=True)
    distillation_loss([worse, coarse.detach()], mask).backward()
    (distillation_loss([worse, alone], mask) - distillation_loss([alone], mask)).backward()
    assert worse.grad.abs().sum() > 0
    assert alone.grad.abs().max() < 1e-6  # the coarser level is no student of the finer one


@pytest.mark.parametrize("released", [False, True])
def test_released_norms_and_weighting_stand_still(toy, released):
    model = toy(shots=3, released=released).train()
    norms = [
        m
        for m in (*model.matching.modules(), *model.decoder.modules())
        if isinstance(m, nn.BatchNorm2d)
    ]
    assert len(norms) == 3 + 3 * 3 + 2
    assert all(m.training != released for m in norms)
    assert all(p.requires_grad != released for p in model.shot_weights.parameters())
    assert model.shot_weights.unsort != released
