"""Contrast against torch's cosine similarity, cell by cell and level by level."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from fcp.errors import FcpError
from fcp.prototypes.contrast import Contrast

LEVELS, CM, L = [2, 1, 3], 6, 7


def test_maps_are_cosines_to_the_mean_of_unit_cells():
    contrast, inside = Contrast(LEVELS, CM), torch.rand(2, L) > 0.5
    support, query = torch.randn(2, CM, L), torch.randn(2, CM, L)
    means = contrast.means(contrast.units(support), inside)
    maps = contrast.maps(means, contrast.units(query))
    assert maps.shape == (2, 6, L)
    starts = zip(LEVELS, (0, 2, 3), strict=True)
    parts = [slice(start, start + level) for level, start in starts]
    sides = product(parts, (inside, ~inside))
    for (row, (part, side)), s in product(enumerate(sides), range(2)):
        cells = F.normalize(support[s, part][:, side[s]], dim=0)
        expected = F.cosine_similarity(cells.sum(1)[:, None], query[s, part], dim=0)
        torch.testing.assert_close(maps[s, row], expected)


def test_a_level_counts_alike_whatever_its_scale():
    contrast, mid = Contrast(LEVELS, CM), torch.randn(1, CM, L)
    louder = mid.clone()
    louder[:, 2:3] *= 100
    torch.testing.assert_close(contrast.units(louder), contrast.units(mid))


def test_without_background_its_similarity_is_zero():
    contrast, units = Contrast(LEVELS, CM), Contrast(LEVELS, CM).units(torch.randn(1, CM, L))
    maps = contrast.maps(contrast.means(units, torch.ones(1, L, dtype=torch.bool)), units)
    assert torch.equal(maps[:, 1::2], torch.zeros(1, 3, L))
    assert (maps[:, ::2] != 0).any()


def test_levels_of_another_backbone_are_refused():
    with pytest.raises(FcpError, match=r"contrast_levels: \[2, 1\] sum to 3, .* has 6 channels"):
        Contrast([2, 1], CM)
