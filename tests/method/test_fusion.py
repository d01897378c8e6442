"""The masks of K shots become one, against loops over pictures and shots; and a name is checked."""

import math
from typing import get_args

import pytest
import torch

from fcp.config import Fusion
from fcp.errors import FcpError
from fcp.method.fusion import RULES, TEMPERATURE, check_fusion, fuse_logits


def test_confidence_weighs_each_mask_by_its_estimated_iou():
    logits, iou = torch.randn(2, 3, 4, 5), torch.rand(2, 3)
    found = fuse_logits(logits, iou, "confidence")
    for b in range(2):
        powers = [math.exp(float(iou[b, k]) / TEMPERATURE) for k in range(3)]
        expected = sum(p * logits[b, k] for k, p in enumerate(powers)) / sum(powers)
        torch.testing.assert_close(found[b], expected)


def test_confidence_follows_the_surest_mask_and_averages_equal_ones():
    logits = torch.randn(1, 3, 4, 4)
    surest = fuse_logits(logits, torch.tensor([[0.1, 0.9, 0.2]]), "confidence")
    torch.testing.assert_close(surest, logits[:, 1], atol=1e-5, rtol=0)
    equal = fuse_logits(logits, torch.full((1, 3), 0.7), "confidence")
    torch.testing.assert_close(equal, logits.mean(1))


@pytest.mark.parametrize("fusion", ["mean", "pooled"])
def test_others_average_whatever_the_estimates(fusion):
    logits = torch.randn(2, 3, 4, 4)
    expected = (logits[:, 0] + logits[:, 1] + logits[:, 2]) / 3
    torch.testing.assert_close(fuse_logits(logits, torch.rand(2, 3), fusion), expected)


def test_names():
    assert set(RULES) == set(get_args(Fusion))
    assert [check_fusion(name) for name in RULES] == list(RULES)
    with pytest.raises(FcpError, match="fusion: expected one of mean, confidence, pooled, got"):
        check_fusion("median")
