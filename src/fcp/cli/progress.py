"""The progress bar of all commands: count, rate and remaining time, on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """A column with units per second, or seconds per unit below one unit per second.

    Args:
        unit: Name of the counted unit, singular.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        super().__init__()

    def render(self, task: Task) -> Text:
        """Return the mean rate since the start; a dash before the first unit is done."""
        if not task.completed or not task.elapsed:
            return Text("–", style="progress.data.speed")
        rate = task.completed / task.elapsed
        text = f"{rate:.1f} {self.unit}/s" if rate >= 1 else f"{1 / rate:.1f} s/{self.unit}"
        return Text(text, style="progress.data.speed")


def progress_bar(unit: str) -> Progress:
    """Make a bar that counts units of this name (singular)."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(unit),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=Console(stderr=True),
    )
