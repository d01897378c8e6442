"""Two rules that draw class, support and query of a training episode, from the seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from fcp.data.lists import ClassLists, nearly_even
from fcp.errors import FcpError

DrawRule = Literal["query", "class"]


@dataclass(frozen=True)
class EpisodeTask:
    """A 1-shot training episode: its class and the ids of its two pictures, which differ."""

    class_id: int
    support: str
    query: str


class TaskDraw(Protocol):
    """A rule that draws training episodes."""

    epoch: int
    """Number of episodes that make an epoch, that of the listed pictures."""

    def __call__(self, index: int, rng: np.random.Generator) -> EpisodeTask:
        """Draw the ``index``-th episode of the training, with the generator of this episode."""


class QueryDraw:
    """The paper's rule: in an epoch each listed picture is the query once, in random order.

    The class is drawn from the base classes that the query shows, the support from the class.

    Args:
        lists: Classes and pictures that may be drawn.
        seed: Seed of the order of the queries.

    Raises:
        FcpError: no two pictures show the same class.
    """

    def __init__(self, lists: ClassLists, seed: int) -> None:
        self._seed, self._members = seed, lists.members
        self._classes = {
            query: [c for c in shown if any(one != query for one in lists.members[c])]
            for query, shown in lists.present.items()
        }
        self._rows = [query for query in lists.rows if self._classes[query]]
        self.epoch = len(self._rows)
        if not self._rows:
            raise FcpError("no two training pictures show the same class; add pictures")

    def __call__(self, index: int, rng: np.random.Generator) -> EpisodeTask:
        """Draw an episode; see ``TaskDraw``."""
        epoch, place = divmod(index, self.epoch)
        order = np.random.default_rng((self._seed, epoch)).permutation(self.epoch)
        query = self._rows[order[place]]
        class_id = int(rng.choice(self._classes[query]))
        others = [picture for picture in self._members[class_id] if picture != query]
        return EpisodeTask(class_id, str(rng.choice(others)), query)


class ClassDraw:
    """Our rule: a class, nearly evenly, then two of its pictures.

    Args:
        lists: Classes and pictures that may be drawn.

    Raises:
        FcpError: no class has two pictures.
    """

    def __init__(self, lists: ClassLists) -> None:
        self._members = {c: ids for c, ids in lists.members.items() if len(ids) > 1}
        self.epoch = len(lists.rows)
        if not self._members:
            raise FcpError("no two training pictures show the same class; add pictures")
        self._shares = nearly_even([len(ids) for ids in self._members.values()])

    def __call__(self, index: int, rng: np.random.Generator) -> EpisodeTask:
        """Draw an episode; see ``TaskDraw``."""
        class_id = int(rng.choice(list(self._members), p=self._shares))
        support, query = rng.choice(self._members[class_id], size=2, replace=False)
        return EpisodeTask(class_id, str(support), str(query))


def make_draw(rule: DrawRule, lists: ClassLists, seed: int) -> TaskDraw:
    """Build a rule by its name."""
    return QueryDraw(lists, seed) if rule == "query" else ClassDraw(lists)
