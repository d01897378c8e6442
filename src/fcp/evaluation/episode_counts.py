"""Pixel counts of every single episode, which can be resampled, compared and stored.

The file is plain CSV: one line an episode, four counts for each kind of mask.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from fcp.data.episodes import EpisodeSpec
from fcp.errors import FcpError
from fcp.evaluation.metrics import Counts, ScoreBoard, Scores, mean_scores
from fcp.system.documents import read_text
from fcp.system.files import write_atomically

MASK = "mask"
ORIGINAL = "original"  # the mask again, counted at the photo's own size

_IDENTITY = ("fold", "seed", "episode", "query", "class")
_COUNTS = ("tp", "fp", "fn", "tn")


@dataclass(frozen=True)
class EpisodeDraw:
    """One draw of episodes; the mean of a table is taken over runs.

    Attributes:
        fold: Fold whose novel classes are tested; None where there are no folds.
        seed: Seed that the episodes were drawn with; None where they come from a file.
    """

    fold: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class EpisodeId:
    """Name of one episode: its run, pictures and class.

    Attributes:
        run: Draw that the episode belongs to.
        digest: First 12 hexadecimal digits of a hash of query, supports and class.
        query: Id of the query picture.
        class_name: Name of the class to segment.
    """

    run: EpisodeDraw
    digest: str
    query: str
    class_name: str


@dataclass(frozen=True, eq=False)
class EpisodeCounts:
    """Pixel counts of E episodes.

    Attributes:
        ids: Names of the E episodes, those of one run side by side.
        counts: Pixel counts by kind of mask, (E, 4) int64: tp, fp, fn, tn. ``"mask"`` and the
            pseudo masks are counted at 512×512, ``"original"`` is the mask at the photo's own size.
    """

    ids: tuple[EpisodeId, ...]
    counts: Mapping[str, np.ndarray]

    def runs(self) -> dict[EpisodeDraw, np.ndarray]:
        """Return run → the rows (n,) of its episodes, in order of appearance."""
        rows: dict[EpisodeDraw, list[int]] = {}
        for row, episode in enumerate(self.ids):
            rows.setdefault(episode.run, []).append(row)
        return {run: np.array(of_run) for run, of_run in rows.items()}

    def truth(self, kind: str) -> np.ndarray:
        """Return the pixels (2, E) in and out of the true mask of each episode."""
        tp, fp, fn, tn = self.counts[kind].T
        return np.stack([tp + fn, fp + tn])

    def take(self, rows: np.ndarray) -> EpisodeCounts:
        """Return the episodes at these rows."""
        return EpisodeCounts(
            ids=tuple(self.ids[row] for row in rows),
            counts={kind: counts[rows] for kind, counts in self.counts.items()},
        )

    def scores(self, kind: str) -> Scores:
        """Return the scores of one kind of mask: pooled within a run, the mean over the runs."""
        return mean_scores([self._pool(kind, rows) for rows in self.runs().values()])

    def _pool(self, kind: str, rows: np.ndarray) -> Scores:
        board = ScoreBoard()
        for row in rows:
            board.add(self.ids[row].class_name, Counts(*self.counts[kind][row].tolist()))
        return board.compute()


def identify(spec: EpisodeSpec, class_name: str, run: EpisodeDraw) -> EpisodeId:
    """Name an episode; equal digests are the same query, supports and class."""
    content = json.dumps([spec.query, *spec.supports, spec.class_id]).encode()
    return EpisodeId(run, hashlib.sha256(content).hexdigest()[:12], spec.query, class_name)


def join(parts: Sequence[EpisodeCounts]) -> EpisodeCounts:
    """Join the episodes of several folds, in this order.

    Raises:
        FcpError: they were not scored on the same kinds of masks.
    """
    kinds = list(parts[0].counts)
    for part in parts:
        if set(part.counts) != set(kinds):
            raise FcpError(
                f"model: one gives the masks {', '.join(kinds)}, another "
                f"{', '.join(part.counts)}; a mean needs models of one kind"
            )
    return EpisodeCounts(
        ids=tuple(episode for part in parts for episode in part.ids),
        counts={kind: np.concatenate([part.counts[kind] for part in parts]) for kind in kinds},
    )


def text_of_id(episode: EpisodeId) -> list[str]:
    """Return fold, seed, digest, query and class as text; an absent fold or seed is empty."""
    numbers = ["" if number is None else str(number) for number in astuple(episode.run)]
    return [*numbers, episode.digest, episode.query, episode.class_name]


def parse_id(fields: Sequence[str]) -> EpisodeId:
    """Read back the fields that ``text_of_id`` returned.

    Raises:
        ValueError: another number of fields, or a fold or seed that is no number.
    """
    fold, seed, digest, query, class_name = fields
    return EpisodeId(EpisodeDraw(_read_number(fold), _read_number(seed)), digest, query, class_name)


def save_counts(path: Path, table: EpisodeCounts) -> None:
    """Write the counts to a CSV file, whole or not at all.

    Raises:
        FcpError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_IDENTITY, *(f"{kind}_{name}" for kind in table.counts for name in _COUNTS)])
    numbers = np.concatenate(list(table.counts.values()), axis=1)  # (E, 4 · kinds)
    for episode, row in zip(table.ids, numbers.tolist(), strict=True):
        writer.writerow([*text_of_id(episode), *row])
    write_atomically(path, text.getvalue().encode())


def load_counts(path: Path) -> EpisodeCounts:
    """Read back a file that ``save_counts`` wrote.

    Raises:
        FcpError: the file is missing, or is not such a file.
    """
    try:
        lines = list(csv.reader(io.StringIO(read_text(path))))
    except csv.Error as error:
        raise FcpError(f"{path}: not a CSV file ({error})") from error
    width = len(_IDENTITY)
    kinds = [name.removesuffix("_tp") for name in (lines[0][width::4] if lines else [])]
    expected = [*_IDENTITY, *(f"{kind}_{name}" for kind in kinds for name in _COUNTS)]
    if len(lines) < 2 or lines[0] != expected or MASK not in kinds:
        raise FcpError(f"{path}: expected the episode scores that fcp evaluate writes")
    try:
        ids = tuple(parse_id(line[:width]) for line in lines[1:])
        numbers = np.array([line[width:] for line in lines[1:]], dtype=np.int64)
        numbers = numbers.reshape(len(ids), len(kinds), len(_COUNTS))
    except ValueError as error:
        raise FcpError(
            f"{path}: damaged: a line has a wrong number of fields or no number"
        ) from error
    return EpisodeCounts(ids, {kind: numbers[:, index] for index, kind in enumerate(kinds)})


def _read_number(field: str) -> int | None:
    return int(field) if field else None
