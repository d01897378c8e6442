"""The lattice is a filter of known weights, and near the exact Gaussian."""

from __future__ import annotations

import numpy as np
import pytest

from fcp.method.lattice import Lattice


@pytest.mark.parametrize("d", [2, 3, 5])
def test_weights_are_barycentric_and_filter_is_linear_and_symmetric(d):
    rng = np.random.default_rng(0)
    lattice = Lattice(rng.normal(size=(300, d)))
    np.testing.assert_allclose(lattice.weights.sum(1), 1)
    assert lattice.weights.min() >= -1e-9
    a, b = rng.normal(size=(2, 300))
    np.testing.assert_allclose(
        lattice.filter(2 * a - b), 2 * lattice.filter(a) - lattice.filter(b), atol=1e-9
    )


@pytest.mark.parametrize(("d", "scale"), [(2, 1.0), (3, 1.0), (5, 0.5)])
def test_near_the_gaussian(d, scale):
    rng = np.random.default_rng(0)
    features = scale * rng.normal(size=(2000, d))
    values = np.sin(1.5 * features.sum(1))
    lattice = Lattice(features)
    found = lattice.filter(values) / lattice.filter(np.ones(2000))
    kernel = np.exp(-((features[:, None] - features) ** 2).sum(2) / 2)
    exact = kernel @ values / kernel.sum(1)
    assert np.corrcoef(found, exact)[0, 1] > 0.97
