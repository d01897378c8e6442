"""The classifier against scikit-learn's, and a picture against its pixels one by one."""

import numpy as np
import pytest
import torch

from fcp.inference.appearance.classifier import CLIP, fit_classifier
from fcp.inference.appearance.features import Layer, penalties_of
from fcp.inference.appearance.samples import Samples

PENALTY = 20.0


def samples(count=400, features=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, features, generator=generator) * torch.arange(1, features + 1) + 3
    truth = (values[:, 0] + torch.randn(count, generator=generator) > 3).float()
    weights = torch.rand(count, generator=generator)
    return Samples(values, truth, weights, weights, torch.rand(count, 2, generator=generator))


def test_weights_are_those_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    given = samples()
    found = fit_classifier([given], torch.full((5,), PENALTY))
    scores = ((given.values - given.values.mean(0)) / given.values.std(0)).clamp(-CLIP, CLIP)
    other = linear.LogisticRegression(C=1 / PENALTY, tol=1e-8)
    other.fit(scores.numpy(), given.truth.numpy(), sample_weight=given.weights.numpy())
    assert np.allclose(found.weights, other.coef_[0], atol=0.01)
    assert found.bias == pytest.approx(other.intercept_[0], abs=0.01)


def test_the_start_does_not_change_the_end():
    given, penalties = samples(), torch.full((5,), PENALTY)
    start = fit_classifier([samples(seed=1)], penalties)
    first, second = fit_classifier([given], penalties), fit_classifier([given], penalties, start)
    assert torch.allclose(first.weights, second.weights, atol=0.01)


def test_a_picture_is_classified_like_its_pixels():
    layers = [Layer(torch.randn(3, 6, 8), PENALTY), Layer(torch.randn(2, 6, 8), 2 * PENALTY)]
    penalties = penalties_of(layers)
    assert penalties.tolist() == [20, 20, 20, 40, 40]
    found = fit_classifier([samples()], penalties)
    pixels = torch.cat([layer.maps.flatten(1) for layer in layers]).T
    odds = found.of_samples(pixels)
    assert torch.allclose(found.of_picture(layers).flatten(), odds, atol=1e-4)


def test_coarse_maps_are_enlarged():
    fine, coarse = torch.randn(3, 6, 8), torch.randn(2, 3, 4)
    large = torch.nn.functional.interpolate(coarse[None], (6, 8), mode="bilinear")[0]
    found = fit_classifier([samples()], torch.full((5,), PENALTY))
    together = found.of_picture([Layer(fine, 1), Layer(coarse, 1)])
    # Clipped before it is enlarged or after: the same for values within the clip.
    assert torch.allclose(together, found.of_picture([Layer(fine, 1), Layer(large, 1)]), atol=0.05)
