"""Gaussian filter in many dimensions by a permutohedral lattice (Adams, Baek and Davis 2010).

Each value is spread over the corners of the simplex around its feature, blurred along the lattice's
axes, and read back with the same weights: an approximation of Σ_j exp(-|f_i - f_j|² / 2) v_j up to
one factor, linear in the number of values.
"""

from __future__ import annotations

import numpy as np

_BITS = 12  # of one coordinate in a packed key; d of them share 64 bits


class Lattice:
    """The lattice of one set of features; made once, it filters any number of value sets.

    Args:
        features: (n, d), d ≤ 5, each divided by its standard deviation.
    """

    def __init__(self, features: np.ndarray) -> None:
        self.size = features.shape[1] + 1
        keys, self.weights = _simplices(features)
        unique, corner = np.unique(_packed(keys), return_inverse=True)
        self.corner = corner.reshape(self.weights.shape)  # (n, d + 1)
        self.length = len(unique)
        step = np.ones(self.size - 1, np.int64)
        self.neighbours = []
        for axis in range(self.size):
            ahead = -step.copy()
            if axis < self.size - 1:
                ahead[axis] = self.size - 1
            offset = int(_shift(ahead))
            pair = (_find(unique, unique + offset), _find(unique, unique - offset))
            self.neighbours.append(pair)

    def filter(self, values: np.ndarray) -> np.ndarray:
        """Filter values (n,)."""
        spread = (self.weights * values[:, None]).ravel()
        at = np.bincount(self.corner.ravel(), spread, self.length)
        at = np.append(at, 0.0)  # the last one stands for every missing neighbour
        for before, after in self.neighbours:
            at[:-1] = at[:-1] + 0.5 * (at[before] + at[after])
        return (self.weights * at[self.corner]).sum(1)


def _simplices(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (n, d + 1, d) around each feature and their weights (n, d + 1)."""
    count, d = features.shape
    lifted = _lift(features)
    nearest = np.rint(lifted / (d + 1)) * (d + 1)
    excess = np.rint(nearest.sum(1) / (d + 1)).astype(np.int64)[:, None]
    # Rank of each coordinate by what is left of it, largest first; then back onto the plane.
    rank = (-(lifted - nearest)).argsort(1, kind="stable").argsort(1, kind="stable") + excess
    nearest -= np.where(rank > d, d + 1, 0) - np.where(rank < 0, d + 1, 0)
    rank -= np.where(rank > d, d + 1, 0) - np.where(rank < 0, d + 1, 0)
    left = (lifted - nearest) / (d + 1)
    by_rank = np.zeros((count, d + 2))
    np.put_along_axis(by_rank[:, 1:], rank, left, 1)  # left over of the coordinate of each rank
    # weight of corner r: left of rank d - r less left of rank d - r + 1; the first takes the rest.
    weights = by_rank[:, d + 1 : 0 : -1].copy()
    weights[:, 1:] -= by_rank[:, d + 1 : 1 : -1]
    weights[:, 0] += 1 - weights.sum(1)
    corner = np.arange(d + 1)[:, None]
    moved = np.where(rank[:, None, :] <= d - corner, corner, corner - (d + 1))
    return (nearest[:, None, :] + moved)[..., :d].astype(np.int64), weights


def _lift(features: np.ndarray) -> np.ndarray:
    """Embed features (n, d) isometrically, up to scale, in the plane Σ = 0 of d + 1 dimensions."""
    d = features.shape[1]
    index = np.arange(1, d + 1)
    scaled = features * (np.sqrt(2 / 3) * (d + 1) / np.sqrt(index * (index + 1)))
    after = np.cumsum(scaled[:, ::-1], 1)[:, ::-1]  # sum from this dimension on
    lifted = np.empty((len(features), d + 1))
    lifted[:, 0] = after[:, 0]
    lifted[:, 1:d] = after[:, 1:] - index[:-1] * scaled[:, :-1]
    lifted[:, d] = -d * scaled[:, -1]
    return lifted


def _packed(keys: np.ndarray) -> np.ndarray:
    """Pack coordinates (…, d) into one integer each."""
    return _shift(keys - keys.min(tuple(range(keys.ndim - 1))) + keys.shape[-1] + 1)


def _shift(keys: np.ndarray) -> np.ndarray:
    return (keys << (_BITS * np.arange(keys.shape[-1]))).sum(-1)


def _find(unique: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where sorted integers hold each wanted one; one past the end where they do not."""
    place = np.searchsorted(unique, wanted)
    hit = unique[np.minimum(place, len(unique) - 1)] == wanted
    return np.where(hit, place, len(unique))
