"""One look for all progress bars: done of all, rate, time left. Bars go to standard error."""

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
    """Things a second, or seconds a thing where that reads better."""

    def __init__(self, thing: str) -> None:
        self.thing = thing
        super().__init__()

    def render(self, task: Task) -> Text:
        """Return the mean rate since the start; a dash before anything is done."""
        if not task.completed or not task.elapsed:
            return Text("–", style="progress.data.speed")
        rate = task.completed / task.elapsed
        text = f"{rate:.1f} {self.thing}/s" if rate >= 1 else f"{1 / rate:.1f} s/{self.thing}"
        return Text(text, style="progress.data.speed")


def progress_bar(thing: str) -> Progress:
    """Make a bar that counts things of this name (singular)."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(thing),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=Console(stderr=True),
    )
