"""Pairs of examples and a query, which shows their class in half of them; they test presence.

A picture shows a class if the class covers at least ``min_pixels`` of the data set, and does not
show it if no pixel is of the class; pictures between the two are not drawn. A query without the
class is any other picture of the pool, so a horse may be asked for in a picture of cows.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fcp.data.dataset import Split
from fcp.errors import FcpError

SETS_OF_EXAMPLES = 16  # of a class, at most, so that each set is encoded once and used many times


class Pictures(Protocol):
    """What a pair needs of a data set; see ``FewShotDataset``."""

    @property
    def title(self) -> str:
        """Name for people."""

    @property
    def min_pixels(self) -> int:
        """Pixels that a class must cover for its picture to be listed under it."""

    def areas(self, split: Split) -> Mapping[str, Mapping[int, int]]:
        """Return, for each picture of a split, class id → pixels (≥ 1)."""

    def image(self, picture: str) -> np.ndarray:
        """Read a photo: (H, W, 3) uint8 RGB."""

    def class_mask(self, picture: str, class_id: int) -> np.ndarray:
        """Read the mask of one class: (H, W) bool."""


@dataclass(frozen=True)
class Pair:
    """A question: is the class of these examples in this picture?

    Attributes:
        class_id: Class of the data set.
        examples: Ids of the pictures that show it, without the query.
        query: Id of the query picture.
        present: Whether the query shows the class: the answer.
    """

    class_id: int
    examples: tuple[str, ...]
    query: str
    present: bool


def draw_pairs(
    data: Pictures,
    classes: Collection[int],
    *,
    without: Collection[int] = (),
    per_class: int,
    shots: Sequence[int],
    seed: int,
) -> list[Pair]:
    """Draw an equal number of pairs of each class, half of them present, from the val pictures.

    Args:
        data: Data set.
        classes: Classes asked for.
        without: Excluded classes; pictures that show any of them are not used at all.
        per_class: Number of pairs of each class.
        shots: Numbers of examples, taken in turn; fewer where a class has fewer pictures.
        seed: Seed of the draw.

    Returns:
        Pairs sorted by query. A class with fewer than two pictures is left out.

    Raises:
        FcpError: no class has two pictures.
    """
    banned = set(without)
    pool = {name: areas for name, areas in data.areas("val").items() if not banned & set(areas)}
    pairs = [
        pair
        for class_id in sorted(classes)
        for pair in _of_class(class_id, pool, data.min_pixels, per_class, shots, seed)
    ]
    if not pairs:
        raise FcpError(f"{data.title}: no class has two val pictures to ask about presence")
    return sorted(pairs, key=order_of)


def order_of(pair: Pair) -> tuple[str, int, tuple[str, ...]]:
    """Return a key by which pairs of one query come one after another."""
    return pair.query, pair.class_id, pair.examples


def _of_class(
    class_id: int,
    pool: Mapping[str, Mapping[int, int]],
    min_pixels: int,
    per_class: int,
    shots: Sequence[int],
    seed: int,
) -> Iterator[Pair]:
    shown = [name for name, areas in pool.items() if areas.get(class_id, 0) >= min_pixels]
    absent = [name for name, areas in pool.items() if class_id not in areas]
    if len(shown) < 2 or not absent:
        return
    draw = random.Random(f"{seed}-{class_id}")  # noqa: S311  (not for secrets)
    sets = [
        tuple(draw.sample(shown, min(shots[number % len(shots)], len(shown) - 1)))
        for number in range(SETS_OF_EXAMPLES)
    ]
    for number in range(per_class):
        examples = sets[number // 2 % len(sets)]
        present = number % 2 == 0
        others = [name for name in (shown if present else absent) if name not in examples]
        yield Pair(class_id, examples, draw.choice(others), present)
