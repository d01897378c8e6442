"""The classifier against scikit-learn's, and a picture against its pixels one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fcp.inference.appearance.classifier import CLIP, FEW, Pool, fit_classifier
from fcp.inference.appearance.features import Layer, penalties_of
from fcp.inference.appearance.samples import Samples

PENALTY = 20.0


def samples(count=400, features=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, features, generator=generator) * torch.arange(1, features + 1) + 3
    truth = (values[:, 0] + torch.randn(count, generator=generator) > 3).float()
    weights = torch.rand(count, generator=generator)
    return Samples(values, truth, weights, weights, torch.rand(count, 2, generator=generator))


def scikit_learns(given, weights):
    """Return the weights and constant term that scikit-learn finds with these sample weights."""
    linear = pytest.importorskip("sklearn.linear_model")
    scores = ((given.values - given.values.mean(0)) / given.values.std(0)).clamp(-CLIP, CLIP)
    other = linear.LogisticRegression(C=1 / PENALTY, tol=1e-8, max_iter=1000)
    other.fit(scores.numpy(), given.truth.numpy(), sample_weight=weights.numpy())
    return other.coef_[0], other.intercept_[0]


def test_weights_are_those_of_scikit_learn():
    given = samples()
    found = fit_classifier(Pool.of([given]), torch.full((5,), PENALTY))
    weights, bias = scikit_learns(given, given.weights)
    assert np.allclose(found.weights, weights, atol=1e-3)
    assert found.bias == pytest.approx(bias, abs=1e-3)


def test_features_that_are_much_alike_need_no_more_steps():
    """Of more pixels than the estimate is from, with features of very different importance."""
    given = samples(5 * FEW, 40)
    alike = given.values[:, :1] + 0.01 * given.values[:, 1:]
    given = replace(given, values=torch.cat([given.values[:, :1], alike], 1))
    found = fit_classifier(Pool.of([given]), torch.full((40,), PENALTY))
    weights, bias = scikit_learns(given, given.weights)
    scores = Pool.of([given]).scores.numpy()
    assert np.allclose(
        scores[:, :-1] @ (found.weights.numpy() - weights), bias - found.bias, atol=0.02
    )


def test_a_picture_that_is_left_out_has_no_say():
    parts = [samples(seed=seed) for seed in range(3)]
    whole = torch.cat([one.values for one in parts])
    pool = Pool.of(parts)
    found = fit_classifier(pool.without(1), torch.full((5,), PENALTY))
    together = Samples(
        whole,
        torch.cat([one.truth for one in parts]),
        *(torch.cat([one.weights for one in parts]),) * 2,
        torch.zeros(len(whole), 2),
    )
    left = together.weights.clone()
    left[400:800] = 0
    weights, bias = scikit_learns(together, left)
    assert np.allclose(found.weights, weights, atol=1e-3)
    assert found.bias == pytest.approx(bias, abs=1e-3)


def test_the_start_does_not_change_the_end():
    pool, penalties = Pool.of([samples()]), torch.full((5,), PENALTY)
    start = fit_classifier(Pool.of([samples(seed=1)]), penalties)
    first, second = fit_classifier(pool, penalties), fit_classifier(pool, penalties, start)
    assert torch.allclose(first.weights, second.weights, atol=1e-3)


def test_features_that_no_hessian_can_be_made_of_still_give_a_classifier():
    given = samples()
    huge = given.weights * torch.tensor(1e30)  # its curvature drowns the penalties
    alike = torch.cat([given.values, given.values], 1)
    pool = Pool.of([replace(given, values=alike, weights=huge)])
    found = fit_classifier(pool, torch.full((10,), PENALTY))
    right = (found.of_samples(alike) > 0) == given.truth.bool()
    assert right.float().mean() > 0.7


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_pixels_of_one_class_alone_are_that_class(truth):
    given = samples()
    given = replace(given, truth=torch.full_like(given.truth, truth))
    found = fit_classifier(Pool.of([given]), torch.full((5,), PENALTY))
    assert ((found.of_samples(given.values) > 0) == bool(truth)).all()


def test_a_picture_is_classified_like_its_pixels():
    layers = [Layer(torch.randn(3, 6, 8), PENALTY), Layer(torch.randn(2, 6, 8), 2 * PENALTY)]
    penalties = penalties_of(layers)
    assert penalties.tolist() == [20, 20, 20, 40, 40]
    found = fit_classifier(Pool.of([samples()]), penalties)
    pixels = torch.cat([layer.maps.flatten(1) for layer in layers]).T
    odds = found.of_samples(pixels)
    assert torch.allclose(found.of_picture(layers).flatten(), odds, atol=1e-4)


def test_coarse_maps_are_enlarged():
    fine, coarse = torch.randn(3, 6, 8), torch.randn(2, 3, 4)
    large = torch.nn.functional.interpolate(coarse[None], (6, 8), mode="bilinear")[0]
    found = fit_classifier(Pool.of([samples()]), torch.full((5,), PENALTY))
    together = found.of_picture([Layer(fine, 1), Layer(coarse, 1)])
    # Clipped before it is enlarged or after: the same for values within the clip.
    assert torch.allclose(together, found.of_picture([Layer(fine, 1), Layer(large, 1)]), atol=0.05)
