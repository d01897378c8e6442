"""The support branch: tokens read inside the mask, and each step its own values."""

import torch

from fcp.layers.attention import AttentionBlock
from fcp.method.fcp.prototypes.support import SupportPrototypes

S, N, n, C, T = 2, 3, 6, 8, 3


def make_branch():
    torch.manual_seed(0)
    return SupportPrototypes(N, C, [AttentionBlock(C, 2) for _ in range(T)]).eval()


def test_cells_outside_the_mask_change_nothing():
    branch = make_branch()
    keys, values, code = (torch.randn(S, n, C) for _ in range(3))
    excluded = torch.zeros(S, n, dtype=torch.bool)
    excluded[:, 4:] = True
    prototypes, attention = branch(keys, values, code, excluded=excluded)
    changed, others = (torch.where(excluded[..., None], 100.0, cells) for cells in (keys, values))
    again, _ = branch(changed, others, code, excluded=excluded)
    short, _ = branch(keys[:, :4], values[:, :4], code[:, :4], excluded=None)
    assert attention.shape == (S, T, N, n)
    assert (attention[..., 4:] == 0).all()
    for step in range(T):
        torch.testing.assert_close(prototypes[step], again[step], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(prototypes[step], short[step], atol=1e-5, rtol=1e-4)


def test_only_the_last_step_gathers_the_last_values():
    branch = make_branch()
    keys, values, code = (torch.randn(S, n, C) for _ in range(3))
    first, _ = branch(keys, keys, code, excluded=None)
    second, _ = branch(keys, values, code, excluded=None)
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(first[2], second[2])


def test_the_position_is_added_to_keys_alone():
    branch = make_branch()
    keys, values, code = (torch.randn(S, n, C) for _ in range(3))
    tokens, attention = branch(keys, values, code, excluded=None)
    asked = branch.tokens.expand(S, -1, -1)
    expected, shown = branch.layers[0](asked, keys + code, keys, need_map=True)
    torch.testing.assert_close(tokens[0], expected)
    torch.testing.assert_close(attention[:, 0], shown)
