"""Evaluations in one file: the report of each, and the pixel counts of every episode.

The file is an ``.npz`` of plain arrays, which numpy opens without pickle:

- ``evaluations``: UTF-8 bytes of JSON, name → settings, report and the like; ``kinds`` names its
  masks in order, and ``episodes``, ``truth`` and ``found`` name its arrays among these:
- ``episodes0``, …: (E, 5) text: fold, seed, digest, query and class;
- ``truth0``, …: (kinds, 2, E) pixels of the foreground, tp + fn, and of the background, fp + tn;
- ``found0``, …: (kinds, 2, E) pixels that were called foreground rightly, tp, and wrongly, fp.

Models that were run on the same episodes share the arrays of episodes and truth.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from fcp.errors import FcpError
from fcp.evaluation.episode_counts import EpisodeCounts, parse_id, text_of_id
from fcp.system.files import open_atomically

_INDEX = "evaluations"


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of one model with one number of shots.

    Attributes:
        settings: Settings of the training, without the places that weights come from.
        report: Report of ``fcp.evaluation.report``; None where the data cannot give so many shots.
        counts: Counts of each episode; None where there is no report.
        missing: Reason why there is no report; None where there is one.
        minutes: Duration of the training, minutes; None where its log is gone.
        encoders: Hashes of the encoders that training left as they were: backbone and promptable
            segmenter, as far as the model has them; empty text for a backbone that it lacks.
        last_miou: mIoU of the model after the last step, where a hold-out of base classes chose an
            earlier one; None where it is the evaluated model itself.
        stages: Settings of the stages that were trained before, by the prefix of their settings;
            those of a stage that is left out are not known.
    """

    settings: Mapping[str, Any]
    report: Mapping[str, Any] | None = None
    counts: EpisodeCounts | None = None
    missing: str | None = None
    minutes: float | None = None
    encoders: tuple[str, ...] = ()
    last_miou: float | None = None
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def save_evaluations(path: Path, evaluations: Mapping[str, Evaluation]) -> None:
    """Write evaluations by name to an ``.npz``, whole or not at all; equal ones give equal bytes.

    Raises:
        FcpError: the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    index = {name: _store(evaluation, arrays) for name, evaluation in sorted(evaluations.items())}
    arrays[_INDEX] = np.frombuffer(json.dumps(index).encode(), np.uint8)
    with open_atomically(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_evaluations(path: Path) -> dict[str, Evaluation]:
    """Read back a file that ``save_evaluations`` wrote.

    Raises:
        FcpError: the file is missing, or is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        index = json.loads(arrays[_INDEX].tobytes())
        return {name: _restore(content, arrays) for name, content in index.items()}
    except OSError as error:
        raise FcpError(f"{path}: cannot be read ({error.strerror})") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        BadZipFile,
        zlib.error,
    ) as error:
        raise FcpError(
            f"{path}: damaged, or no file of evaluations; delete it to make them anew"
        ) from error


def _store(evaluation: Evaluation, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Add an evaluation's counts to the arrays, and return the rest with their names."""
    rest = (one.name for one in fields(evaluation) if one.name != "counts")
    content = {name: getattr(evaluation, name) for name in rest}
    if evaluation.counts is None:
        return content
    counts = evaluation.counts
    tp, fp, _, _ = np.stack(list(counts.counts.values())).transpose(2, 0, 1)
    parts = {
        "episodes": np.array([text_of_id(episode) for episode in evaluation.counts.ids]),
        "truth": _small(np.stack([counts.truth(kind) for kind in counts.counts])),
        "found": _small(np.stack([tp, fp], 1)),
    }
    named = {kind: _add(arrays, kind, part) for kind, part in parts.items()}
    return {**content, "kinds": list(evaluation.counts.counts), **named}


def _restore(content: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Evaluation:
    kinds = content.pop("kinds", None)
    encoders = tuple(content.pop("encoders"))
    if kinds is None:
        return Evaluation(**content, encoders=encoders)
    episodes, truth, found = (arrays[content.pop(k)] for k in ("episodes", "truth", "found"))
    if not truth.shape == found.shape == (len(kinds), 2, len(episodes)):
        raise ValueError("counts of other episodes")
    found = found.astype(np.int64)
    missed = truth.astype(np.int64) - found  # fn, tn
    table = np.concatenate([found, missed], 1).transpose(0, 2, 1)  # (kinds, E, 4)
    ids = tuple(parse_id(line) for line in episodes.tolist())
    counts = EpisodeCounts(ids, dict(zip(kinds, table, strict=True)))
    return Evaluation(**content, counts=counts, encoders=encoders)


def _add(arrays: dict[str, np.ndarray], kind: str, part: np.ndarray) -> str:
    """Add an array unless an equal one is there; return its name."""
    others = [name for name in arrays if name.startswith(kind)]
    same = (name for name in others if np.array_equal(arrays[name], part))
    name = next(same, f"{kind}{len(others)}")
    arrays.setdefault(name, part)
    return name


def _small(numbers: np.ndarray) -> np.ndarray:
    """Return whole numbers in the smallest type that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max())))
