"""The support branch: tokens read inside the mask, and each step its own values."""

import torch

from fcp.layers.attention import AttentionBlock
from fcp.prototypes.support import SupportPrototypes

S, N, n, C, T = 2, 3, 6, 8, 3


def make_branch():
    torch.manual_seed(0)
    return SupportPrototypes(N, C, [AttentionBlock(C, 2) for _ in range(T)]).eval()


def test_cells_outside_the_mask_change_nothing():
    branch, keys, values = make_branch(), torch.randn(S, n, C), torch.randn(S, n, C)
    excluded = torch.zeros(S, n, dtype=torch.bool)
    excluded[:, 4:] = True
    prototypes, attention = branch(keys, [values] * T, excluded)
    changed = torch.where(excluded[..., None], 100.0, keys)
    again, _ = branch(changed, [changed * 0 + values + 100 * excluded[..., None]] * T, excluded)
    short, _ = branch(keys[:, :4], [values[:, :4]] * T, None)
    assert attention.shape == (S, T, N, n)
    assert (attention[..., 4:] == 0).all()
    for step in range(T):
        torch.testing.assert_close(prototypes[step], again[step], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(prototypes[step], short[step], atol=1e-5, rtol=1e-4)


def test_only_the_last_step_gathers_the_last_values():
    branch, keys = make_branch(), torch.randn(S, n, C)
    first, _ = branch(keys, [keys, keys, keys], None)
    second, _ = branch(keys, [keys, keys, torch.randn(S, n, C)], None)
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(first[2], second[2])
