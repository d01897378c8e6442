"""Both kinds of matching against torch's own attention, layer after layer."""

import torch
from torch import nn

from fcp.method.fcp.matching import PixelMatching, PrototypeMatching

S, N, L, C, HEADS = 2, 3, 9, 16, 4


def torch_block(block, tokens, keys, values):
    """LayerNorm(x + MultiheadAttention(x, K, V)) and the averaged map."""
    attention = nn.MultiheadAttention(C, HEADS, batch_first=True).eval()
    state = {k: v for k, v in block.state_dict().items() if not k.startswith("norm.")}
    attention.load_state_dict(state)
    answer, shown = attention(tokens, keys, values)
    return block.norm(tokens + answer), shown


def test_support_tokens_ask_and_query_tokens_answer():
    matching = PrototypeMatching(C, HEADS, dropout=0.2).eval()
    support, query = torch.randn(S, N, C), torch.randn(S, N + 1, C)
    matched, _ = torch_block(matching.cross_attention, support, query, query)
    expected, _ = torch_block(matching.self_attention, matched, matched, matched)
    torch.testing.assert_close(matching(support, query), expected, atol=1e-5, rtol=1e-5)


def test_pixels_answer_in_the_baseline():
    matching = PixelMatching(C, HEADS, dropout=0.5, maps_after_dropout=False).eval()
    support, keys, values = torch.randn(S, N, C), torch.randn(S, L, C), torch.randn(S, L, C)
    asking, _ = torch_block(matching.support_attention, support, support, support)
    matched, shown = torch_block(matching.cross_attention, asking, keys, values)
    expected, _ = torch_block(matching.self_attention, matched, matched, matched)
    prompts, attention = matching(support, keys, values, need_map=True)
    torch.testing.assert_close(prompts, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention, shown, atol=1e-6, rtol=1e-5)
