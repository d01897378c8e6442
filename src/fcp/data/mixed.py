"""Training episodes out of VOC and the sets of ``objects``: the candidates, and the draw.

Data sets are drawn by stated shares and their classes nearly evenly. A stated share of the episodes
asks for a class that the query does not show. Such a query is from the same data set, so that the
style of the photo does not reveal the answer, and it must be a photo that certainly does not show
the class: from a set where everything is labelled, or where each photo shows one kind. Worn
objects, parts, films and stuff (grass, sky …) have no such photos, since photos of another kind may
show them without a mask.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcp.data.dataset import FewShotDataset
from fcp.data.lists import Areas, ClassLists, make_lists, nearly_even, train_lists
from fcp.data.objects import STUFF, Kind, Objects, held_out, named_by_coco, overlap_with_voc
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError

VOC = "voc"  # the name of VOC among the shares
_LOOK_ALIKES = 3  # number of classes most similar to the class asked for …
_LOOK_ALIKE_SHARE = 0.75  # … and the share of their photos among the queries without it


@dataclass(frozen=True)
class TaskSource:
    """Classes of one data set from which episodes are drawn.

    Attributes:
        name: Name of the data set among the shares.
        data: Data set that holds the photos and masks.
        lists: Classes and photos that may be drawn.
        absent: Class asked for → class shown instead → its photos, none of which shows the class
            asked for; no entry for a class without such photos.
    """

    name: str
    data: FewShotDataset
    lists: ClassLists
    absent: Mapping[int, Mapping[int, tuple[str, ...]]]


@dataclass(frozen=True)
class MixedTask:
    """A training episode by the ids of its photos, which are all different.

    Attributes:
        source: Source of all its photos.
        class_id: Class that the supports show.
        supports: Ids of the support photos, at least one.
        query: Id of the query photo.
        present: Whether the query shows the class; if not, its target is empty.
    """

    source: TaskSource
    class_id: int
    supports: tuple[str, ...]
    query: str
    present: bool


class Mixture:
    """Sampler of episodes; each depends on its generator alone.

    Args:
        sources: Sources named by the shares; a source from which nothing can be drawn is left out.
        shares: Name of a source → its share of the episodes; the remaining shares are scaled to sum
            to 1.
        shots: Number of supports of an episode; a class with no more photos than that is not drawn.
        absent_share: Share of all episodes that ask for a class that the query does not show.
        features: Name of a source → class id → mean foreground feature (C,), of any length: photos
            of the most similar classes are preferred as queries without the class. None for an
            equal chance of all classes.

    Raises:
        FcpError: unknown or negative shares, nothing to draw from, or fewer episodes with safe
            absent photos than asked for.
    """

    def __init__(
        self,
        sources: Collection[TaskSource],
        shares: Mapping[str, float],
        *,
        shots: int = 1,
        absent_share: float = 0.0,
        features: Mapping[str, Mapping[int, np.ndarray]] | None = None,
    ) -> None:
        _require_shares(shares, {source.name for source in sources})
        self._shots = shots
        self._classes = [
            (source, class_id)
            for source in sources
            for class_id, members in source.lists.members.items()
            if len(members) > shots and shares.get(source.name, 0) > 0
        ]
        if not self._classes:
            raise FcpError(f"no class of the sources has {shots + 1} photos to draw from")
        self._weights = _class_weights(self._classes, shares)
        safe = sum(
            weight
            for (source, class_id), weight in zip(self._classes, self._weights, strict=True)
            if class_id in source.absent
        )
        if not 0 <= absent_share <= safe:
            raise FcpError(
                f"absent_share: expected 0 … {safe:.2f}, which is the share of the classes with "
                f"photos that certainly do not show them, got {absent_share}"
            )
        self._absent_given_safe = absent_share / safe if absent_share else 0.0
        self._similar = {name: look_alikes(means) for name, means in (features or {}).items()}
        self.photos = sum(len(s.lists.rows) for s in sources if shares.get(s.name, 0) > 0)

    def __call__(self, rng: np.random.Generator) -> MixedTask:
        """Draw an episode."""
        source, class_id = self._classes[rng.choice(len(self._classes), p=self._weights)]
        members = source.lists.members[class_id]
        if class_id in source.absent and rng.random() < self._absent_given_safe:
            places = list(rng.choice(len(members), self._shots, replace=False))
            query, present = self._draw_absent(source, class_id, rng), False
        else:
            *places, last = rng.choice(len(members), self._shots + 1, replace=False)
            query, present = members[last], True
        supports = tuple(members[place] for place in places)
        return MixedTask(source, class_id, supports, query, present)

    def _draw_absent(self, source: TaskSource, class_id: int, rng: np.random.Generator) -> str:
        """Draw the class that is shown instead, preferably a similar one, then a photo of it."""
        by_class = source.absent[class_id]
        order = self._similar.get(source.name, {}).get(class_id, ())
        similar = [shown for shown in order if shown in by_class][:_LOOK_ALIKES]
        if similar and rng.random() >= _LOOK_ALIKE_SHARE:
            similar = []
        photos = by_class[int(rng.choice(similar or list(by_class)))]
        return photos[rng.integers(len(photos))]


def training_sources(
    data_root: Path, fold: int | None, *, hold_out: bool
) -> tuple[TaskSource, ...]:
    """List the sources that a model may be trained on.

    Args:
        data_root: Folder that holds ``VOC2012/`` and ``objects/``.
        fold: Fold of VOC's classes that stay novel; None for a shipped model, which is trained on
            all of VOC's classes and on no kind that COCO names.
        hold_out: Whether the kinds for choosing steps and settings are left out.

    Raises:
        FcpError: data are missing, or there is no such fold.
    """
    voc, objects = PascalVOC(data_root), Objects(data_root)
    banned = left_out_kinds(objects.kinds, voc, fold)
    if hold_out:
        banned |= held_out(objects.kinds)
    return (voc_source(voc, fold), *object_sources(objects, banned))


def left_out_kinds(kinds: Mapping[int, Kind], voc: PascalVOC, fold: int | None) -> frozenset[int]:
    """Return the kinds that the model of a fold, or a shipped model (None), is not trained on."""
    if fold is None:
        return named_by_coco(kinds)
    return overlap_with_voc(kinds, {voc.classes[class_id] for class_id in voc.novel(fold)})


def kinds_holdout(objects: Objects, left_out: Collection[int]) -> ClassLists:
    """List the held-out kinds and their photos, for episodes that steps are chosen by.

    Args:
        objects: Data set of objects.
        left_out: Kinds that stay novel for the choice of steps too (``left_out_kinds``).
    """
    kept = held_out(objects.kinds) - frozenset(left_out)
    names = {c: name for c, name in objects.classes.items() if c in kept}
    return make_lists(objects.areas("val"), names, min_pixels=1, banned=sorted(left_out))


def voc_source(voc: PascalVOC, fold: int | None) -> TaskSource:
    """List VOC's base classes; each photo has all of VOC's classes labelled."""
    lists = train_lists(voc, fold)
    absent = {c: absent_photos(lists, {c}) for c in lists.members}
    return TaskSource(VOC, voc, lists, {c: photos for c, photos in absent.items() if photos})


def object_sources(objects: Objects, left_out: Collection[int]) -> list[TaskSource]:
    """List the sets of ``objects`` without the left-out kinds and the photos that show them."""
    areas = {**objects.areas("train"), **objects.areas("val")}
    names = list(dict.fromkeys(kind.set for kind in objects.kinds.values()))
    return [_set_source(objects, name, areas, left_out) for name in names]


def _set_source(objects: Objects, name: str, areas: Areas, left_out: Collection[int]) -> TaskSource:
    kinds = {c: kind for c, kind in objects.kinds.items() if kind.set == name}
    lists = make_lists(
        {photo: pixels for photo, pixels in areas.items() if photo.startswith(f"{name}/")},
        {c: objects.classes[c] for c in kinds if c not in left_out},
        min_pixels=objects.min_pixels,
        banned=[c for c in kinds if c in left_out],
    )
    absent = {
        c: absent_photos(lists, confusable(kinds, c)) for c in lists.members if may_lack(kinds[c])
    }
    return TaskSource(name, objects, lists, {c: photos for c, photos in absent.items() if photos})


def may_lack(kind: Kind) -> bool:
    """Return whether a photo without a mask of this kind certainly does not show it."""
    return kind.alone or (kind.labelled and kind.name not in STUFF)


def confusable(kinds: Mapping[int, Kind], class_id: int) -> set[int]:
    """Return the kinds of a set whose photos may show the kind in question, itself among them.

    In a set whose photos show several kinds, these are the kinds of the same class of VOC (a photo
    of a face also shows a body). In a set whose photos show one kind each, it is the kind itself
    (another breed is another kind).
    """
    asked = kinds[class_id]
    if asked.alone or asked.voc is None:
        return {class_id}
    return {c for c, kind in kinds.items() if kind.voc == asked.voc}


def absent_photos(lists: ClassLists, without: Collection[int]) -> dict[int, tuple[str, ...]]:
    """Return, by the class they are listed under, the photos that show none of some classes."""
    banned = frozenset(without)
    found = {
        shown: tuple(p for p in members if banned.isdisjoint(lists.present[p]))
        for shown, members in lists.members.items()
    }
    return {shown: photos for shown, photos in found.items() if photos}


def look_alikes(means: Mapping[int, np.ndarray]) -> dict[int, tuple[int, ...]]:
    """Sort, for each class, the other classes by the cosine of their means, the nearest first.

    Args:
        means: Class id → mean foreground feature (C,).
    """
    if not means:
        return {}
    ids = list(means)
    directions = np.stack([means[c] / np.linalg.norm(means[c]) for c in ids])
    cosine = directions @ directions.T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :-1]
    return {c: tuple(ids[place] for place in row) for c, row in zip(ids, order, strict=True)}


def _require_shares(shares: Mapping[str, float], known: Collection[str]) -> None:
    for name, share in shares.items():
        if name not in known:
            raise FcpError(f"shares: expected some of {', '.join(sorted(known))}, got {name!r}")
        if not share >= 0:
            raise FcpError(f"shares: {name}: expected 0 or more, got {share}")


def _class_weights(
    classes: Collection[tuple[TaskSource, int]], shares: Mapping[str, float]
) -> np.ndarray:
    """Return each class's part of all episodes: nearly even within a source."""
    counts = np.array([len(source.lists.members[c]) for source, c in classes])
    names = np.array([source.name for source, _ in classes])
    weights = np.zeros(len(classes))
    for name in set(names):
        inside = names == name
        weights[inside] = shares[name] * nearly_even(counts[inside])
    return weights / weights.sum()
