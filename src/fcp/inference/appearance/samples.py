"""Pixels of an example that stand for all of it: what they look like, and what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fcp.inference.appearance.features import Layer, read_at

ANYWHERE, FOREGROUND = 3000, 1000  # pixels that are drawn of a picture


@dataclass(frozen=True)
class Samples:
    """Pixels that were drawn of a picture.

    Attributes:
        values: (n, D) what they look like, all layers.
        truth: (n,) 0 or 1.
        weights: (n,) how much each counts in training.
        shares: (n,) how many pixels of the picture each stands for, in parts.
        places: (n, 2) x, y as fractions 0 … 1 of width and height.
    """

    values: Tensor
    truth: Tensor
    weights: Tensor
    shares: Tensor
    places: Tensor

    def of(self, chosen: Tensor) -> Samples:
        """Return some of them, chosen by index or (n,) bool."""
        return Samples(*(part[chosen] for part in vars(self).values()))

    def as_background(self) -> Samples:
        """Return the foreground as what another class is not, at its natural share."""
        own = self.of(self.truth > 0)
        return replace(own, truth=torch.zeros_like(own.truth), weights=own.shares)

    def in_first_half(self) -> Tensor:
        """Return (n,) bool, cut where half of the foreground lies, across its longer extent."""
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

    Background counts at its natural share; foreground is lifted by the root of how much rarer it
    is, half-way to equal shares.

    Args:
        layers: of its picture.
        mask: (H, W) bool, of any size, with some foreground.
        generator: the only source of chance.
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
