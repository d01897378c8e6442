"""The attention-based pseudo mask against a loop."""

import torch

from fcp.method.fcp.prototypes.pseudo_mask import attention_mask


def test_equals_a_loop():
    attention = torch.rand(2, 3, 8).softmax(-1)
    found = attention_mask(attention)
    for s in range(2):
        for cell in range(8):
            best = 0.0
            for token in attention[s]:
                low, high = float(token.min()), float(token.max())
                best = max(best, (float(token[cell]) - low) / (high - low + 1e-9))
            assert abs(float(found[s, cell]) - best) < 1e-5


def test_a_constant_map_is_finite():
    assert (attention_mask(torch.full((1, 2, 4), 0.25)) == 0).all()
