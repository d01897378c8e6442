"""The record of a run: its recipe, `log.csv`, TensorBoard files and lines of progress."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from fcp.engine.processes import processes
from fcp.engine.recipe import Recipe
from fcp.errors import FcpError
from fcp.models.files import LEARNER_FILE, RECIPE_FILE
from fcp.system.files import write_atomically, write_beside

Report = Callable[[str], None]
LOG_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"
HOLDOUT = "holdout"


def say_nothing(_: str) -> None:
    """Report nothing; takes the place of ``report``, such as on all processes but the main one."""


def record_recipe(out: Path, recipe: Recipe, learner: Mapping[str, Any] | None = None) -> None:
    """Write ``out/recipe.json``, the recipe as it is run; all processes call this.

    Args:
        out: Folder of the run.
        recipe: Recipe of the run.
        learner: Recipe of the base learner that the run starts from, or ``UNKNOWN_TRAINING`` of
            ``evaluation.seen``, for a file of its own; None for no learner.

    Raises:
        FcpError: the disk is full or not writable.
    """
    processes().wait_for_everyone()  # the file is replaced once all have read the previous one
    if not processes().is_main_process:
        return
    for name, settings in ((RECIPE_FILE, asdict(recipe)), (LEARNER_FILE, learner)):
        if settings is not None:
            write_beside(out / name, (json.dumps(settings, indent=2) + "\n").encode())


class Log:
    """Log of the means of each loss term since the last row; the main process has one.

    The columns are ``step``, every term, ``learning_rate``, ``seconds_per_step`` and ``holdout``
    (empty in rows without a score).

    Args:
        folder: Folder of the run.
        first: Number of steps done so far; later rows of an interrupted run are dropped.
        total: Number of steps of the whole run.
        report: Function that takes each line of output.
        state: State of an interrupted run's log; empty for a new run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first: int,
        total: int,
        report: Report,
        state: Mapping[str, Any],
    ) -> None:
        self._file, self._total, self._report = folder / LOG_FILE, total, report
        self._keep_until(first)
        self._sums: dict[str, float] = dict(state.get("sums", {}))
        self._count: int = state.get("count", 0)
        self._since, self._timed = time.monotonic(), first
        self._writer = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=first + 1)

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint: the sums since the last row and their step count."""
        return {"sums": self._sums, "count": self._count}

    def add(self, losses: Mapping[str, float]) -> None:
        """Add the loss terms of a step."""
        self._count += 1
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def write(self, step: int, rate: float, score: float | None = None) -> None:
        """Write the means as a row and start new ones.

        Args:
            step: Number of steps done.
            rate: Learning rate of the last of them.
            score: Score on the hold-out, where one was taken at this step; else None.
        """
        means = {name: total / self._count for name, total in self._sums.items()}
        seconds = (time.monotonic() - self._since) / (step - self._timed)
        row = {**means, "learning_rate": rate, "seconds_per_step": seconds}
        self._append({"step": step, **row, HOLDOUT: "" if score is None else score})
        for name, value in {**row, **({} if score is None else {HOLDOUT: score})}.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        terms = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        scored = "" if score is None else f"  {HOLDOUT} {score:.3f}"
        self._report(f"{step}/{self._total}  {terms}{scored}  {seconds:.2f} s/step")
        self._sums, self._count = {}, 0
        self._since, self._timed = time.monotonic(), step

    def close(self) -> None:
        """Close the TensorBoard file."""
        self._writer.close()

    def _append(self, row: Mapping[str, float | str]) -> None:
        try:
            with self._file.open("a", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                if stream.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise FcpError(f"{self._file}: cannot be written ({error.strerror})") from error

    def _keep_until(self, first: int) -> None:
        """Drop rows after a step, and a row that was cut short when the run was killed."""
        rows = read_log(self._file) if first and self._file.exists() else []
        kept = [row for row in rows if int(row["step"]) <= first]
        text = io.StringIO()
        if kept:
            writer = csv.DictWriter(text, list(kept[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
        write_atomically(self._file, text.getvalue().encode())


def read_log(file: Path) -> list[dict[str, str]]:
    """Return the complete rows of a log, by column; a row that was cut short is left out."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if None not in row.values()]
