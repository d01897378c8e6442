"""The query branch: which mask guides what, at which step."""

import pytest
import torch

from fcp.layers.attention import AttentionBlock
from fcp.method.fcp.prototypes.pseudo_mask import attention_mask
from fcp.method.fcp.prototypes.query import QueryPrototypes

S, N, L, C, T = 2, 3, 9, 8, 3


class Watched:
    """Guided features that add the mask to random cells, and keep the masks."""

    key, value = object(), object()

    def __init__(self):
        self.cells, self.key_masks, self.value_masks = torch.randn(S, L, C), [], []

    def guide_keys(self, query, mask):
        self.key_masks.append(mask)
        return self.cells + mask[..., None]

    def guide_values(self, query, mask):
        self.value_masks.append(mask)
        return self.cells + mask[..., None]


def run(*, attention_guided, refresh, steps=T):
    """Return what was found, and the masks that guided the keys and the last values."""
    torch.manual_seed(0)
    layers = [AttentionBlock(C, 2) for _ in range(steps)]
    branch = QueryPrototypes(
        N, C, layers, attention_guided=attention_guided, refresh=refresh
    ).eval()
    features, prior = Watched(), torch.rand(S, L)
    found = branch(features, None, prior, torch.zeros(L, C), with_maps=True)
    return prior, found, features.key_masks, features.value_masks


def same(masks, expected):
    return len(masks) == len(expected) and all(map(torch.equal, masks, expected))


@pytest.mark.parametrize("refresh", [True, False])
def test_attention_guides_the_steps_after(refresh):
    prior, found, key_masks, value_masks = run(attention_guided=True, refresh=refresh)
    made = [attention_mask(found.attention[:, t]) for t in range(T - 1)]
    assert same(found.masks, made)
    assert same(key_masks, [prior, *made] if refresh else [prior])
    assert same(value_masks, made[-1:])


def test_the_conventional_mask_guides_throughout():
    prior, found, key_masks, value_masks = run(attention_guided=False, refresh=True)
    assert found.masks == ()
    assert same(key_masks, [prior])
    assert same(value_masks, [prior])


def test_a_single_step_knows_only_the_conventional_mask():
    prior, found, key_masks, value_masks = run(attention_guided=True, refresh=True, steps=1)
    assert found.masks == ()
    assert same(key_masks, [prior])
    assert same(value_masks, [prior])
