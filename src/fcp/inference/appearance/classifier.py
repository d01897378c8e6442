"""Logistic regression on pixel features, from few pixels of few examples.

A pixel's features are z-scores, clipped, so that no outlier decides. Each layer sets the penalty of
its weights. A layer's share in the log-odds is computed on its own grid and then enlarged, which is
far cheaper than enlarging its maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from fcp.inference.appearance.features import Layer
from fcp.inference.appearance.samples import Samples

CLIP = 3.0
MOST_STEPS = 60
CLOSE = 1e-5  # relative gain of a step below which the fit ends
LEAST_DEVIATION = 1e-4  # least standard deviation, for a feature that is nearly constant


@dataclass(frozen=True)
class Classifier:
    """Log-odds of foreground from pixel features.

    Attributes:
        mean: Mean of each feature (D,).
        scale: Inverse standard deviation of each feature (D,).
        weights: Weights of the clipped z-scores (D,).
        bias: Constant term of the log-odds.
    """

    mean: Tensor
    scale: Tensor
    weights: Tensor
    bias: float

    def of_samples(self, values: Tensor) -> Tensor:
        """Return the log-odds (n,) of pixels with these features (n, D)."""
        return self._scores(values) @ self.weights + self.bias

    def of_picture(self, layers: Sequence[Layer]) -> Tensor:
        """Return the log-odds (h, w) of a picture, of the size of its first layer."""
        size = layers[0].maps.shape[1:]
        total = torch.full(size, self.bias)
        start = 0
        for layer in layers:
            part = slice(start, start := start + len(layer.maps))
            flat = layer.maps.flatten(1)
            scores = (flat - self.mean[part, None]).mul_(self.scale[part, None]).clamp_(-CLIP, CLIP)
            share = (self.weights[part] @ scores).unflatten(0, layer.maps.shape[1:])
            total += F.interpolate(share[None, None], size, mode="bilinear")[0, 0]
        return total

    def _scores(self, values: Tensor) -> Tensor:
        return (values - self.mean).mul_(self.scale).clamp_(-CLIP, CLIP)


def fit_classifier(
    samples: Sequence[Samples], penalties: Tensor, start: Classifier | None = None
) -> Classifier:
    """Fit a classifier to the samples of one or more pictures.

    Args:
        samples: Samples of each picture, at least one.
        penalties: Penalty of half each squared weight (D,), against the sum of the samples' losses.
        start: Classifier of nearly the same samples to start from, which saves steps; None for
            zeros.
    """
    values, truth, counts = (
        torch.cat([getattr(one, name) for one in samples])
        for name in ("values", "truth", "weights")
    )
    scale = 1 / (values.std(0) + LEAST_DEVIATION)
    blank = Classifier(values.mean(0), scale, torch.zeros_like(scale), 0.0)
    scores = blank._scores(values)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(parameters[:-1]).float()
        odds = scores @ weights + float(parameters[-1])
        each = F.binary_cross_entropy_with_logits(odds, truth, counts, reduction="sum")
        cost = each + 0.5 * (penalties * weights.square()).sum()
        error = counts * (odds.sigmoid() - truth)
        slope = torch.cat([error @ scores + penalties * weights, error.sum()[None]])
        return float(cost), slope.double().numpy()

    first = np.append((start or blank).weights.numpy(), (start or blank).bias)
    options = {"maxiter": MOST_STEPS, "ftol": CLOSE}
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
    weights = torch.from_numpy(found.x[:-1]).float()
    return Classifier(blank.mean, scale, weights, float(found.x[-1]))
