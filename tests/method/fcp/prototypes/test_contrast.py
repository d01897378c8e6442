"""Contrast against torch's cosine similarity, cell by cell and level by level."""

from itertools import product

import torch
import torch.nn.functional as F

from fcp.method.fcp.prototypes.contrast import contrast_maps, level_means, level_units

LEVELS, CM, L = [2, 1, 3], 6, 7


def test_maps_are_cosines_to_the_mean_of_unit_cells():
    inside = torch.rand(2, L) > 0.5
    support, query = torch.randn(2, CM, L), torch.randn(2, CM, L)
    means = level_means(level_units(support, LEVELS), inside, LEVELS)
    maps = contrast_maps(means, level_units(query, LEVELS), LEVELS)
    assert maps.shape == (2, 6, L)
    starts = zip(LEVELS, (0, 2, 3), strict=True)
    parts = [slice(start, start + level) for level, start in starts]
    sides = product(parts, (inside, ~inside))
    for (row, (part, side)), s in product(enumerate(sides), range(2)):
        cells = F.normalize(support[s, part][:, side[s]], dim=0)
        expected = F.cosine_similarity(cells.sum(1)[:, None], query[s, part], dim=0)
        torch.testing.assert_close(maps[s, row], expected)


def test_a_level_counts_alike_whatever_its_scale():
    mid = torch.randn(1, CM, L)
    louder = mid.clone()
    louder[:, 2:3] *= 100
    torch.testing.assert_close(level_units(louder, LEVELS), level_units(mid, LEVELS))


def test_without_background_its_similarity_is_zero():
    units = level_units(torch.randn(1, CM, L), LEVELS)
    means = level_means(units, torch.ones(1, L, dtype=torch.bool), LEVELS)
    maps = contrast_maps(means, units, LEVELS)
    assert torch.equal(maps[:, 1::2], torch.zeros(1, 3, L))
    assert (maps[:, ::2] != 0).any()
