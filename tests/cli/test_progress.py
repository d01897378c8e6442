"""The bar's rate: things a second, or seconds a thing."""

import pytest
from rich.progress import Task

from fcp.cli.progress import RateColumn, progress_bar


@pytest.mark.parametrize(
    ("done", "elapsed", "shown"),
    [(0, 5.0, "–"), (10, 5.0, "2.0 photo/s"), (2, 5.0, "2.5 s/photo"), (5, 5.0, "1.0 photo/s")],
)
def test_rate(monkeypatch, done, elapsed, shown):
    bar = progress_bar("photo")
    bar.add_task("segmenting", total=100, completed=done)
    monkeypatch.setattr(Task, "elapsed", elapsed)
    assert RateColumn("photo").render(bar.tasks[0]).plain == shown
