"""Augmentation: colours keep structure, pasted things show where their shape says."""

import numpy as np
import torch
import torch.nn.functional as F

from fcp.data.augment import draw_quadrilateral, jitter_colour, paste


def test_colour_stays_in_range_and_structure_survives():
    pixels = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = jitter_colour(pixels, np.random.default_rng(0))
    assert 0 <= changed.min()
    assert changed.max() <= 1
    both = torch.stack([pixels.mean(0).flatten(), changed.mean(0).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9


def test_pasting_changes_the_shape_and_leaves_the_rest():
    shape = np.zeros((16, 16), bool)
    shape[4:12, 5:11] = True
    below, above = torch.zeros(3, 32, 32), torch.ones(3, 32, 32)
    mixed = paste(below, above, shape)
    assert mixed[:, 12:20, 14:18].min() > 0.98
    far = F.max_pool2d(torch.from_numpy(shape)[None, None].float(), 7, 1, 3)
    far = F.interpolate(far, (32, 32))[0, 0] == 0
    assert mixed[:, far].max() < 1e-3
    assert abs(float(mixed[0].mean()) - shape.mean()) < 0.02


def test_quadrilaterals_are_solid_and_of_all_sizes():
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(100):
        shape = draw_quadrilateral(40, rng)
        assert shape.shape == (40, 40)
        areas.append(shape.mean())
    assert min(areas) < 0.08
    assert max(areas) > 0.3
