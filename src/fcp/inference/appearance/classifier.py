"""Logistic regression on pixel features, from few pixels of few examples.

A pixel's features are z-scores, clipped, so that no outlier decides. Each layer sets the penalty of
its weights. A layer's share in the log-odds is computed on its own grid and then enlarged, which is
far cheaper than enlarging its maps.

A fit is L-BFGS in coordinates in which the loss is nearly as curved in one direction as in any
other. They are those of the loss's Hessian at an estimate, from few of the pixels, which is
either a given classifier or the fit to these few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from fcp.inference.appearance.features import Layer
from fcp.inference.appearance.samples import Samples

CLIP = 3.0
MOST_STEPS = 60
ESTIMATE_STEPS = 20  # of the fit to few pixels
FEW = 2000  # pixels for the estimate and the curvature there, or up to twice as many
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
        scores = (values - self.mean).mul_(self.scale).clamp_(-CLIP, CLIP)
        return scores @ self.weights + self.bias

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


@dataclass(frozen=True)
class Pool:
    """Samples of some pictures, put together for fits.

    Attributes:
        mean: Mean of each feature (D,).
        scale: Inverse standard deviation of each feature (D,).
        scores: Clipped z-scores of each pixel, and a 1 for the constant term (n, D + 1).
        truth: True class of each pixel (n,): 1 foreground, 0 background.
        weights: Weight of each pixel (n,).
        pictures: Index of each pixel's picture (n,).
    """

    mean: Tensor
    scale: Tensor
    scores: Tensor
    truth: Tensor
    weights: Tensor
    pictures: Tensor

    @classmethod
    def of(cls, samples: Sequence[Samples]) -> Self:
        """Pool the samples of one or more pictures."""
        pictures = torch.cat([torch.full_like(one.truth, i) for i, one in enumerate(samples)])
        scores = torch.cat([F.pad(one.values, (0, 1), value=1.0) for one in samples])
        features = scores[:, :-1]
        features -= (mean := features.mean(0))
        # torch.std goes along the pixels, which takes ten times as long.
        deviation = (features.square().sum(0) / max(1, len(features) - 1)).sqrt()
        features *= (scale := 1 / (deviation + LEAST_DEVIATION))
        features.clamp_(-CLIP, CLIP)
        truth, weights = (
            torch.cat([getattr(one, name) for one in samples]) for name in ("truth", "weights")
        )
        return cls(mean, scale, scores, truth, weights, pictures)

    def without(self, picture: int) -> Self:
        """Return the pool with a weight of 0 for the pixels of a picture."""
        return replace(self, weights=self.weights.masked_fill(self.pictures == picture, 0))

    def of_few(self) -> Self:
        """Return every k-th pixel with k times its weight: ``FEW``, or fewer than twice as many."""
        every = max(1, len(self.truth) // FEW)
        return replace(
            self,
            scores=self.scores[::every],
            truth=self.truth[::every],
            weights=every * self.weights[::every],
            pictures=self.pictures[::every],
        )


def fit_classifier(pool: Pool, penalties: Tensor, start: Classifier | None = None) -> Classifier:
    """Fit a classifier to the samples of pictures.

    Args:
        pool: Samples of the pictures.
        penalties: Penalty of half each squared weight (D,), against the sum of the samples' losses.
        start: Classifier of nearly the same samples to start from; None for none.
    """
    few, penalties = pool.of_few(), F.pad(penalties, (0, 1))
    if start is None:
        estimate = _descend(few, penalties, torch.zeros_like(penalties), ESTIMATE_STEPS)
    else:
        estimate = torch.cat([start.weights, torch.tensor([start.bias])])
    found = _descend(pool, penalties, estimate, MOST_STEPS, _root(few, penalties, estimate))
    return Classifier(pool.mean, pool.scale, found[:-1], float(found[-1]))


def _descend(
    pool: Pool, penalties: Tensor, first: Tensor, most_steps: int, root: Tensor | None = None
) -> Tensor:
    """Minimise the loss from a first estimate.

    Args:
        pool: Samples.
        penalties: Penalty of half each squared weight and of the constant term (D + 1,).
        first: Weights and constant term of the estimate (D + 1,).
        most_steps: Largest number of steps.
        root: Upper triangular R (D + 1, D + 1) of the coordinates u = R w; None for w itself.
    """

    def loss(place: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.from_numpy(place).float()
        weights = at if root is None else _solve(root, at, upper=True)
        odds = pool.scores @ weights
        each = F.binary_cross_entropy_with_logits(odds, pool.truth, pool.weights, reduction="sum")
        cost = each + 0.5 * (penalties * weights.square()).sum()
        error = pool.weights * (odds.sigmoid() - pool.truth)
        slope = error @ pool.scores + penalties * weights
        if root is not None:
            slope = _solve(root.T, slope, upper=False)
        return float(cost), slope.double().numpy()

    start = first if root is None else root @ first
    options = {"maxiter": most_steps, "ftol": CLOSE}
    found = minimize(loss, start.numpy(), jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
    best = torch.from_numpy(found.x).float()
    return best if root is None else _solve(root, best, upper=True)


def _root(pool: Pool, penalties: Tensor, weights: Tensor) -> Tensor | None:
    """Return the upper triangular R with RᵀR the Hessian of the loss at these weights.

    None where rounding leaves no such R; a fit then takes more steps.
    """
    odds = pool.scores @ weights
    curvature = pool.weights * odds.sigmoid() * (-odds).sigmoid()
    hessian = (pool.scores * curvature[:, None]).T @ pool.scores + penalties.diag()
    hessian[-1, -1] += 1  # where all is certain, nothing holds the constant term
    root, failed = torch.linalg.cholesky_ex(hessian, upper=True)
    return None if failed else root


def _solve(triangular: Tensor, right: Tensor, *, upper: bool) -> Tensor:
    """Return x with ``triangular`` @ x = ``right``."""
    found: Tensor = torch.linalg.solve_triangular(triangular, right[:, None], upper=upper)
    return found[:, 0]
