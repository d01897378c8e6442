"""The criterion: names, weights, sum, and refusals."""

import dataclasses

import pytest
import torch

from fcp.config import LossWeights
from fcp.errors import FcpError
from fcp.method.fcp.losses.criterion import Criterion
from fcp.method.fcp.losses.diversity import orthogonal_loss
from fcp.method.fcp.losses.guide import guide_loss
from fcp.method.fcp.losses.mask import mask_loss_from_logits
from fcp.structures import CorrelationOutput, Output


@pytest.fixture
def output():
    torch.manual_seed(0)
    B, K, T, N = 2, 2, 3, 4
    return Output(
        prompts=torch.zeros(B, K, N, 8),
        support_prototypes=(),
        query_prototypes=(),
        conventional_mask=torch.rand(B, K, 4, 4),
        attention_masks=torch.rand(B, K, T - 1, 4, 4),
        support_attention=torch.rand(B, K, T, N, 16),
        query_attention=torch.rand(B, K, T, N, 16),
        mask_logits=torch.randn(B, 16, 16),
        iou=torch.rand(B),
    )


def test_terms_and_total(output):
    target = (torch.rand(2, 16, 16) > 0.5).float()
    terms = Criterion(LossWeights(prompt=2.0, guide=0.25, ortho=0.1))(output, target)
    assert list(terms) == ["prompt", "guide", "ortho", "total"]
    ortho = [orthogonal_loss(m) for m in (output.support_attention, output.query_attention)]
    torch.testing.assert_close(terms["prompt"], mask_loss_from_logits(output.mask_logits, target))
    torch.testing.assert_close(terms["guide"], guide_loss(output.attention_masks, target))
    torch.testing.assert_close(terms["ortho"], (ortho[0] + ortho[1]) / 2)
    expected = 2 * terms["prompt"] + 0.25 * terms["guide"] + 0.1 * terms["ortho"]
    torch.testing.assert_close(terms["total"], expected)


def test_without_absent_queries_presence_is_learnt_from_what_is_there(output):
    estimates = tuple(torch.randn(3, 2, 16, 16))
    judged = CorrelationOutput(estimates, torch.tensor([0.5, -2.0]))
    output = dataclasses.replace(output, correlation=judged)
    target = (torch.rand(2, 16, 16) > 0.5).float()
    found = Criterion()(output, target)["presence"]
    torch.testing.assert_close(found, -judged.presence.sigmoid().log().mean())
    mixed = Criterion()(output, target, torch.tensor([1.0, 0.0]))["presence"]
    by_hand = -torch.stack([judged.presence[0], -judged.presence[1]]).sigmoid().log().mean()
    torch.testing.assert_close(mixed, by_hand)


def test_default_weights_are_the_papers(output):
    terms = Criterion()(output, torch.ones(2, 16, 16).long())
    expected = terms["prompt"] + 0.5 * terms["guide"] + 0.05 * terms["ortho"]
    torch.testing.assert_close(terms["total"], expected)


def test_refuses_another_size_and_missing_maps(output):
    with pytest.raises(FcpError, match="query_mask: expected"):
        Criterion()(output, torch.zeros(2, 8, 8))
    quiet = dataclasses.replace(output, query_attention=None)
    with pytest.raises(FcpError, match="with_maps=True"):
        Criterion()(quiet, torch.zeros(2, 16, 16))


def test_pseudo_mask_is_the_last_one_or_the_conventional(output):
    assert torch.equal(output.pseudo_mask, output.attention_masks[:, :, -1].mean(1))
    none = dataclasses.replace(output, attention_masks=output.attention_masks[:, :, :0])
    assert torch.equal(none.pseudo_mask, output.conventional_mask.mean(1))
