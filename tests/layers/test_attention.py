"""The attention block against torch.nn.MultiheadAttention, in evaluation and in training."""

import pytest
import torch
from torch import nn

from fcp.layers.attention import AttentionBlock

S, N, n, C, HEADS = 2, 3, 7, 16, 4


def make_pair(dropout=0.0, **options):
    """Our block and torch's layer with the same, non-trivial weights."""
    block = AttentionBlock(C, HEADS, dropout=dropout, **options)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    reference = nn.MultiheadAttention(C, HEADS, dropout=dropout, batch_first=True)
    state = {k: v for k, v in block.state_dict().items() if not k.startswith("norm.")}
    reference.load_state_dict(state)
    return block, reference


def inputs():
    return torch.randn(S, N, C), torch.randn(S, n, C), torch.randn(S, n, C)


@pytest.mark.parametrize("exclude", [False, True])
def test_equals_torch(exclude):
    torch.manual_seed(0)
    block, reference = make_pair()
    block, reference = block.eval(), reference.eval()
    tokens, keys, values = inputs()
    excluded = torch.zeros(S, n, dtype=torch.bool)
    excluded[0, 2:] = exclude
    expected, expected_map = reference(tokens, keys, values, key_padding_mask=excluded)
    found, found_map = block(tokens, keys, values, excluded=excluded, need_map=True)
    torch.testing.assert_close(found, block.norm(tokens + expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found_map, expected_map, atol=1e-6, rtol=1e-5)
    assert (found_map[0, :, 2:] == 0).all() == exclude


def test_dropout_is_torchs_number_for_number():
    torch.manual_seed(1)
    block, reference = make_pair(dropout=0.5, maps_after_dropout=True)
    tokens, keys, values = inputs()
    torch.manual_seed(2)
    expected, expected_map = reference(tokens, keys, values)
    torch.manual_seed(2)
    found, found_map = block(tokens, keys, values, need_map=True)
    torch.testing.assert_close(found, block.norm(tokens + expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found_map, expected_map, atol=1e-6, rtol=1e-5)


def test_maps_are_whole_unless_asked_after_dropout():
    torch.manual_seed(3)
    whole, _ = make_pair(dropout=0.5)
    _, attention = whole(*inputs(), need_map=True)
    torch.testing.assert_close(attention.sum(-1), torch.ones(S, N))
    punched, _ = make_pair(dropout=0.5, maps_after_dropout=True)
    _, attention = punched(*inputs(), need_map=True)
    assert (attention.sum(-1) - 1).abs().min() > 1e-3


def test_map_only_on_request():
    block, _ = make_pair()
    assert block(*inputs())[1] is None
