"""Logistic regression on what pixels look like, from few pixels of few examples.

A pixel's features are z-scores, clipped, so that no odd pixel decides. A layer's weights cost what
the layer says. A layer's share in the log-odds is computed on its own grid and enlarged then, which
is far cheaper than enlarging its maps.
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
CLOSE = 1e-5  # relative gain of a step, from which on the fit is done
LEAST_DEVIATION = 1e-4  # of a feature that is nearly the same everywhere


@dataclass(frozen=True)
class Classifier:
    """Log-odds of foreground from what pixels look like.

    Attributes:
        mean: (D,) of each feature.
        scale: (D,) one over its standard deviation.
        weights: (D,) of the clipped z-scores.
        bias: of the sum.
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
    """Fit to the samples of one or more pictures.

    Args:
        samples: of each.
        penalties: (D,) of half the squared weights, against the sum of the samples' losses.
        start: of nearly the same samples, from where it is not far.
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
