"""The refinement of a mask's border: the band, the iteration against an exact one, an edge."""

from __future__ import annotations

import numpy as np
import torch

from fcp.method.insid3.crf import border_band, mean_field, refine


def test_band_is_a_disc_on_both_sides_of_the_border():
    mask = np.zeros((40, 40), bool)
    mask[12:30, :20] = True
    inner, outer = border_band(mask)
    for y in range(40):
        for x in range(40):
            near = [
                mask[v, u] if 0 <= v < 40 and 0 <= u < 40 else False
                for v in range(y - 5, y + 6)
                for u in range(x - 5, x + 6)
                if (v - y) ** 2 + (u - x) ** 2 <= 25
            ]
            assert inner[y, x] == all(near)
            assert outer[y, x] == any(near)


def test_iteration_is_near_that_of_the_exact_kernels():
    rng = np.random.default_rng(0)
    side = 24
    picture = np.zeros((3, side, side))
    picture[:, :, 10:] = 0.15
    picture += 0.02 * rng.random(picture.shape)
    logit = np.where(np.arange(side) < 14, -1.0, 1.0) * np.ones((side, 1)) + rng.normal(
        size=(side, side)
    )
    scale = side / 512
    place = np.indices((side, side)).reshape(2, -1).T
    colour = picture.reshape(3, -1).T

    def kernel(features: np.ndarray) -> np.ndarray:
        distance = ((features[:, None] - features) ** 2).sum(2)
        weights = np.exp(-distance / 2)
        return weights / weights.sum(1, keepdims=True)

    spatial = kernel(place / (4 * scale))
    alike = kernel(np.concatenate([place / (12 * scale), colour / 0.03], 1))
    u = np.stack([-logit.ravel(), logit.ravel()])
    x = np.exp(u) / np.exp(u).sum(0)
    for _ in range(10):
        v = u + 3 * x @ spatial.T + 20 * x @ alike.T
        shift = (v.sum(0) - 1) / 2
        x = np.clip(v - shift, 0, None)  # of two classes: one may leave the simplex
        x = np.where(x > 1, 1, x)
    assert (
        np.round(x[1]).reshape(side, side) == np.round(mean_field(logit, picture))
    ).mean() > 0.95


def test_border_moves_to_the_edge_of_the_picture():
    truth = torch.zeros(128, 128, dtype=torch.bool)
    truth[32:96, 32:96] = True
    generator = torch.Generator().manual_seed(0)
    picture = 0.7 * truth.expand(3, 128, 128) + 0.02 * torch.rand(3, 128, 128, generator=generator)
    mask = torch.zeros_like(truth)
    mask[34:98, 30:94] = True
    refined = refine(mask, picture)
    assert (refined != truth).sum() < 0.1 * (mask != truth).sum()
    inner, outer = border_band(mask.numpy())
    changed = (refined != mask).numpy()
    assert not changed[inner | ~outer].any()
    assert not refine(torch.zeros_like(mask), picture).any()
