"""Pixels drawn from an example: their features and their true class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fcp.inference.appearance.features import Layer, read_at

ANYWHERE, FOREGROUND = 3000, 1000  # pixels drawn from a picture: anywhere, and of its foreground


@dataclass(frozen=True)
class Samples:
    """Pixels drawn from a picture.

    Attributes:
        values: Features of each pixel in all layers (n, D).
        truth: True class of each pixel (n,): 1 foreground, 0 background.
        weights: Weight of each pixel in training (n,).
        shares: Area of the picture that each pixel stands for (n,), up to a common factor.
        places: Positions x, y (n, 2) as fractions 0 … 1 of width and height.
    """

    values: Tensor
    truth: Tensor
    weights: Tensor
    shares: Tensor
    places: Tensor

    def of(self, chosen: Tensor) -> Samples:
        """Return some of the pixels, chosen by index or (n,) bool."""
        return Samples(*(part[chosen] for part in vars(self).values()))

    def as_background(self) -> Samples:
        """Return the foreground as background of another class, at its natural share."""
        own = self.of(self.truth > 0)
        return replace(own, truth=torch.zeros_like(own.truth), weights=own.shares)

    def in_first_half(self) -> Tensor:
        """Return the pixels (n,) bool of one half, cut across the foreground's longer extent."""
        foreground = self.places[self.truth > 0]
        axis = int(foreground[:, 1].std() > foreground[:, 0].std())
        return self.places[:, axis] <= foreground[:, axis].median()

    def overlap(self, odds: Tensor) -> float:
        """Estimate the IoU of mask and log-odds (n,) over 0, in 0 … 1."""
        found, true = odds > 0, self.truth > 0
        either = self.shares[found | true].sum()
        return float(self.shares[found & true].sum() / either) if either > 0 else 0.0


def draw_samples(
    layers: Sequence[Layer], mask: np.ndarray, generator: np.random.Generator
) -> Samples:
    """Draw pixels of an example, anywhere and of its foreground.

    Background keeps its natural weight. Foreground is weighted by the square root of the ratio of
    background to foreground area, half-way to equal weights.

    Args:
        layers: Pixel features of the example's picture.
        mask: Mask of the object (H, W), bool, of any size, with some foreground.
        generator: Only source of chance.
    """
    kinds = (np.flatnonzero(mask), np.flatnonzero(~mask))
    share = len(kinds[0]) / mask.size
    counts = (FOREGROUND + round(ANYWHERE * share), round(ANYWHERE * (1 - share)))
    drawn = [
        generator.choice(of, count if len(of) else 0)
        for of, count in zip(kinds, counts, strict=True)
    ]
    rows, columns = np.divmod(np.concatenate(drawn), mask.shape[1])
    places = np.stack([(columns + 0.5) / mask.shape[1], (rows + 0.5) / mask.shape[0]], 1)
    at = torch.from_numpy(places).float()
    inside, outside = (torch.ones(len(one)) for one in drawn)
    natural = (ANYWHERE * share, ANYWHERE * (1 - share))
    shares = [
        one * total / max(1, len(one))
        for one, total in zip((inside, outside), natural, strict=True)
    ]
    lift = ((1 - share) / share) ** 0.5
    return Samples(
        values=torch.cat([read_at(layer.maps, at) for layer in layers], 1),
        truth=torch.cat([inside, 0 * outside]),
        weights=torch.cat([lift * shares[0], shares[1]]),
        shares=torch.cat(shares),
        places=at,
    )
