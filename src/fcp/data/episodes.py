"""Episodes: drawn from (seed, index) alone, frozen in a file that is identified by its hash.

There are two samplers, and the card names the one used. ``classic`` is the benchmark's own: on
PASCAL-5i the query is row (index mod rows) and its class is drawn from the fold's classes with at
least one pixel in it; on COCO-20i the class is drawn first, then the query from its list. ``hsnet``
goes through the pairs of a row and a class that it is listed under. Supports are always drawn from
the class's list, without replacement and never the query. NumPy's generators may draw other numbers
in another version, so the file is published and evaluated again, not the seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from fcp.data.dataset import FewShotDataset
from fcp.data.lists import ClassLists
from fcp.errors import FcpError
from fcp.system.documents import read_json
from fcp.system.files import write_atomically

FORMAT = "fcp-episodes-1"


@dataclass(frozen=True)
class EpisodeSpec:
    """One few-shot task by the ids of its pictures.

    Attributes:
        query: Id of the picture to segment.
        supports: Ids of the K example pictures, all different, none of them the query.
        class_id: Class that the examples show.
    """

    query: str
    supports: tuple[str, ...]
    class_id: int


Sampler = Literal["classic", "hsnet"]


def sample_episodes(
    lists: ClassLists, *, shots: int, episodes: int, seed: int, sampler: Sampler = "classic"
) -> tuple[EpisodeSpec, ...]:
    """Draw the episodes 0 … episodes - 1.

    Raises:
        FcpError: fewer than one shot or episode, no rows, or a class with too few pictures.
    """
    for name, value in (("shots", shots), ("episodes", episodes)):
        if value < 1:
            raise FcpError(f"{name}: expected at least 1, got {value}")
    if seed < 0:
        raise FcpError(f"seed: expected at least 0, got {seed}")
    _check_enough(lists, shots, sampler)
    return tuple(
        draw_episode(lists, index, shots=shots, seed=seed, sampler=sampler)
        for index in range(episodes)
    )


def draw_episode(
    lists: ClassLists, index: int, *, shots: int, seed: int, sampler: Sampler = "classic"
) -> EpisodeSpec:
    """Draw one episode; the same (seed, index) gives the same one, on any worker.

    The lists must offer enough pictures, which ``sample_episodes`` checks for all rows at once.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, index]))
    query, class_id = _rule(lists, sampler).draw(lists, index, generator)
    others = [picture for picture in lists.members[class_id] if picture != query]
    chosen = generator.choice(len(others), size=shots, replace=False)
    return EpisodeSpec(query, tuple(others[position] for position in chosen), class_id)


def describe_sampler(lists: ClassLists, sampler: Sampler) -> str:
    """Describe in one line, for protocol cards, how a sampler draws from these lists."""
    supports = "supports from the class list without replacement, never the query"
    return f"{sampler}: {_rule(lists, sampler).description}, {supports}"


def save_episodes(path: Path, episodes: tuple[EpisodeSpec, ...]) -> str:
    """Freeze episodes in a JSON file.

    Returns:
        The SHA-256 of the file, which is ``episodes_hash(episodes)``.

    Raises:
        FcpError: the file cannot be written.
    """
    write_atomically(path, _to_json(episodes))
    return episodes_hash(episodes)


def load_episodes(path: Path, data: FewShotDataset | None = None) -> tuple[EpisodeSpec, ...]:
    """Read a file of ``save_episodes``, or the plain form ``[[query, [supports…], class], …]``.

    Files of other programs may give a class by name, and a picture's id with a suffix or a folder.
    In the plain form a support may occur twice, since classic samplers draw so.

    Args:
        path: Path of the JSON file.
        data: Data set in which every picture and class is looked up; required for the plain form.

    Raises:
        FcpError: the file is missing or of another form, unequal shots, a query among its own
            supports, or a picture or class that the data set does not have; the message names the
            entry.
    """
    content = read_json(path)
    match content:
        case {"format": str(name), "episodes": [_, *_] as items} if name == FORMAT:
            specs = list(_read_specs(items, path))
        case [_, *_] if data is not None:
            specs = list(_read_plain(content, path, data))
        case _:
            plain = "" if data is None else " or [[query, [supports…], class], …]"
            raise FcpError(f"{path}: expected an episode file of the format {FORMAT!r}{plain}")
    _check_specs(specs, path, data)
    return tuple(specs)


def episodes_hash(episodes: tuple[EpisodeSpec, ...]) -> str:
    """Return the SHA-256 that the episodes' file has or would have."""
    return hashlib.sha256(_to_json(episodes)).hexdigest()


def _to_json(episodes: tuple[EpisodeSpec, ...]) -> bytes:
    # One episode a line: two files can be compared line by line, and the bytes are fixed.
    lines = ",\n".join(json.dumps(asdict(spec)) for spec in episodes)
    return f'{{"format": "{FORMAT}", "episodes": [\n{lines}\n]}}\n'.encode()


def _read_specs(items: list[object], path: Path) -> Iterator[EpisodeSpec]:
    for index, item in enumerate(items):
        match item:
            case {"query": str(query), "supports": [*supports], "class_id": int(class_id)} if all(
                isinstance(support, str) for support in supports
            ):
                yield EpisodeSpec(query, tuple(supports), class_id)
            case _:
                expected = "a query, a list of supports and a class_id"
                raise FcpError(f"{path}: episodes[{index}]: expected {expected}")


def _read_plain(items: list[object], path: Path, data: FewShotDataset) -> Iterator[EpisodeSpec]:
    known = {*data.ids("train"), *data.ids("val")}
    classes = {name: class_id for class_id, name in data.classes.items()}
    for index, item in enumerate(items):
        match item:
            case [str(query), [*supports], (str() | int()) as named] if all(
                isinstance(support, str) for support in supports
            ):
                chosen = tuple(_find_id(str(support), known) for support in supports)
                # An unknown name becomes an invalid id, which the check of all entries reports.
                class_id = classes.get(named, -1) if isinstance(named, str) else named
                yield EpisodeSpec(_find_id(query, known), chosen, class_id)
            case _:
                raise FcpError(f"{path}: entry {index}: expected [query, [supports…], class]")


def _find_id(name: str, known: set[str]) -> str:
    """Return a picture's id from another program's name of it, with a suffix or a folder."""
    written = PurePosixPath(name)
    candidates = (name, (written.parent / written.stem).as_posix(), written.stem)
    return next((candidate for candidate in candidates if candidate in known), name)


def _check_specs(specs: list[EpisodeSpec], path: Path, data: FewShotDataset | None) -> None:
    known = None if data is None else {*data.ids("train"), *data.ids("val")}
    for index, spec in enumerate(specs):
        fault = next(_faults(spec, len(specs[0].supports), known, data), None)
        if fault is not None:
            raise FcpError(f"{path}: entry {index} (query {spec.query}): {fault}")


def _faults(
    spec: EpisodeSpec, shots: int, known: set[str] | None, data: FewShotDataset | None
) -> Iterator[str]:
    if not spec.supports or len(spec.supports) != shots:
        yield f"{len(spec.supports)} supports, expected {shots or 'at least 1'}, as in entry 0"
    if spec.query in spec.supports:
        yield "the query is among its own supports"
    if known is None or data is None:
        return
    if spec.class_id not in data.classes:
        yield f"its class is none of the {len(data.classes)} of {data.title}"
    for picture in (spec.query, *spec.supports):
        if picture not in known:
            yield f"{data.title} has no picture {picture!r} here"
        elif spec.class_id not in data.pixels(picture):
            name = data.classes[spec.class_id]
            yield f"{picture!r} shows no pixel of {name!r} (class ids count from 1)"


# Function that draws a query and its class for an episode's index.
_Draw = Callable[[ClassLists, int, np.random.Generator], tuple[str, int]]


@dataclass(frozen=True)
class _Rule:
    """Rule by which a query and its class are drawn, its description, and all that it can draw."""

    draw: _Draw
    description: str
    possible: Callable[[ClassLists], Iterator[tuple[str, int]]]


def _draw_row(lists: ClassLists, index: int, generator: np.random.Generator) -> tuple[str, int]:
    query = lists.rows[index % len(lists.rows)]
    return query, int(generator.choice(lists.present[query]))


def _draw_pair(lists: ClassLists, index: int, generator: np.random.Generator) -> tuple[str, int]:
    return lists.pairs[index % len(lists.pairs)]


def _draw_class(lists: ClassLists, index: int, generator: np.random.Generator) -> tuple[str, int]:
    class_id = int(generator.choice([c for c, members in lists.members.items() if members]))
    members = lists.members[class_id]
    return members[generator.integers(len(members))], class_id


_RULES = {
    "row": _Rule(
        _draw_row,
        "query = row (index mod rows), its class among the novel classes with >= 1 px in it",
        lambda lists: ((row, c) for row in lists.rows for c in lists.present[row]),
    ),
    "class": _Rule(
        _draw_class,
        "class among those with a listed picture, query from the class list",
        lambda lists: ((members[0], c) for c, members in lists.members.items() if members),
    ),
    "pair": _Rule(
        _draw_pair,
        "query and class = pair (index mod pairs) of a row and a class that it is listed under",
        lambda lists: iter(lists.pairs),
    ),
}


def _rule(lists: ClassLists, sampler: Sampler) -> _Rule:
    return _RULES[lists.classic_rule if sampler == "classic" else "pair"]


def _check_enough(lists: ClassLists, shots: int, sampler: Sampler) -> None:
    """Check every class that can be drawn, so that no seed meets one with too few pictures."""
    if not lists.names:
        raise FcpError("no class to draw from is here; make FSS-1000 with fcp data … --splits DIR")
    if not lists.rows:
        raise FcpError("no picture is listed: no mask shows an allowed class on enough pixels")
    listed = {class_id: frozenset(members) for class_id, members in lists.members.items()}
    for query, class_id in _rule(lists, sampler).possible(lists):
        others = len(listed[class_id]) - (query in listed[class_id])
        if others < shots:
            raise FcpError(
                f"class {lists.names[class_id]!r}: {shots} supports are asked but only "
                f"{others} pictures are listed beside the query {query}; ask for fewer shots, "
                "or leave such classes out: fcp episodes --drop-small-classes"
            )
