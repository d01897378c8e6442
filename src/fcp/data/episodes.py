"""Episodes: drawn from (seed, index) alone, frozen in a file that is known by its hash.

Query = row (index mod rows); its class is drawn from the fold's classes with at least one pixel in
it (the classic sampler); its supports are drawn from that class's list, without replacement and
never the query. NumPy may change what a generator makes of its bits between versions, so what is
published and re-run is the file, not the seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fcp.config import load_json
from fcp.data.lists import ClassLists
from fcp.errors import FcpError
from fcp.files import write_atomically

FORMAT = "fcp-episodes-1"


@dataclass(frozen=True)
class EpisodeSpec:
    """One few-shot task by the ids of its pictures.

    Attributes:
        query: picture to segment.
        supports: the K example pictures, all different, none of them the query.
        class_id: the class that the examples show.
    """

    query: str
    supports: tuple[str, ...]
    class_id: int


def sample_episodes(
    lists: ClassLists, *, shots: int, episodes: int, seed: int
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
    _check_enough(lists, shots)
    return tuple(draw_episode(lists, index, shots=shots, seed=seed) for index in range(episodes))


def draw_episode(lists: ClassLists, index: int, *, shots: int, seed: int) -> EpisodeSpec:
    """Draw one episode; the same (seed, index) gives the same one, on any worker.

    The lists must offer enough pictures, which ``sample_episodes`` checks for all rows at once.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, index]))
    query = lists.rows[index % len(lists.rows)]
    class_id = int(generator.choice(lists.present[query]))
    others = [picture for picture in lists.members[class_id] if picture != query]
    chosen = generator.choice(len(others), size=shots, replace=False)
    return EpisodeSpec(query, tuple(others[position] for position in chosen), class_id)


def save_episodes(path: Path, episodes: tuple[EpisodeSpec, ...]) -> str:
    """Freeze episodes in a JSON file.

    Returns:
        The SHA-256 of the file, which is ``episodes_hash(episodes)``.

    Raises:
        FcpError: the file cannot be written.
    """
    write_atomically(path, _to_json(episodes))
    return episodes_hash(episodes)


def load_episodes(path: Path) -> tuple[EpisodeSpec, ...]:
    """Read back what ``save_episodes`` wrote.

    Raises:
        FcpError: missing, or no such file.
    """
    content = load_json(path)
    if content.get("format") != FORMAT or not isinstance(content.get("episodes"), list):
        raise FcpError(f"{path}: expected an episode file of the format {FORMAT!r}")
    return tuple(_read_specs(content["episodes"], path))


def episodes_hash(episodes: tuple[EpisodeSpec, ...]) -> str:
    """Return the SHA-256 that the episodes' file has or would have."""
    return hashlib.sha256(_to_json(episodes)).hexdigest()


def _to_json(episodes: tuple[EpisodeSpec, ...]) -> bytes:
    # One episode a line: two files can be compared by eye, and the bytes are fixed.
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


def _check_enough(lists: ClassLists, shots: int) -> None:
    """Check every class that any row could draw, so that no seed runs into a short one."""
    if not lists.rows:
        raise FcpError("no picture is listed: no mask shows an allowed class on enough pixels")
    for query in lists.rows:
        for class_id in lists.present[query]:
            others = len(lists.members[class_id]) - (query in lists.members[class_id])
            if others < shots:
                raise FcpError(
                    f"class {lists.names[class_id]!r}: {shots} supports are asked but only "
                    f"{others} pictures are listed beside the query {query}; ask for fewer shots"
                )
