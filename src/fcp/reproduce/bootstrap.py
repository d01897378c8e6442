"""Bootstrap intervals: the variation of a number over other pictures of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A value and its bootstrap percentiles 2.5 and 97.5 %; training seeds are not covered."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[np.ndarray], float], strata: Sequence[Hashable], *, seed: int = 0
) -> Interval:
    """Return a statistic and its interval over units drawn with replacement within their strata.

    Args:
        statistic: Function from the number of times that each unit was drawn (n,) to a number; a
            draw whose number is NaN is left out.
        strata: Stratum of each of the n units; each stratum keeps its number of units.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    places: dict[Hashable, list[int]] = {}
    for place, stratum in enumerate(strata):
        places.setdefault(stratum, []).append(place)
    drawn = np.zeros((RESAMPLES, len(strata)))
    for own in places.values():
        drawn[:, own] = generator.multinomial(len(own), [1 / len(own)] * len(own), RESAMPLES)
    low, high = np.nanpercentile([statistic(weights) for weights in drawn], [2.5, 97.5])
    return Interval(statistic(np.ones(len(strata))), float(low), float(high))


def mean_over_groups(values: Sequence[float], groups: Sequence[Hashable]) -> Interval:
    """Average values that come in groups; whole groups are drawn.

    Episodes that ask about one picture are not independent: their group is the picture.
    """
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    owner = [names[group] for group in groups]
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    return bootstrap(lambda drawn: float(drawn @ sums / (drawn @ counts)), [0] * len(names))
