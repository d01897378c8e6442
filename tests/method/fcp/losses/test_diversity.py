"""The orthogonal loss against a loop over pairs of tokens."""

import pytest
import torch
import torch.nn.functional as F

from fcp.method.fcp.losses.diversity import orthogonal_loss


def test_equals_a_loop_over_pairs():
    attention = torch.rand(2, 2, 3, 4, 9)  # (B, K, T, N, L)
    similarities = [
        F.cosine_similarity(maps[i], maps[j], dim=0)
        for maps in attention.flatten(0, 2)
        for i in range(4)
        for j in range(4)
        if i != j
    ]
    expected = torch.stack(similarities).mean()
    torch.testing.assert_close(orthogonal_loss(attention), expected)


def test_bounds():
    apart, alike = torch.eye(3)[None], torch.ones(1, 3, 5)
    assert orthogonal_loss(apart) == 0
    assert orthogonal_loss(alike) == pytest.approx(1)
    assert orthogonal_loss(torch.stack([torch.ones(4), -torch.ones(4)])[None]) == 0
    assert orthogonal_loss(torch.rand(1, 1, 5)) == 0


def test_autocast_does_not_reach_it():
    attention = torch.rand(1, 3, 50)
    expected = orthogonal_loss(attention)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert orthogonal_loss(attention) == expected
