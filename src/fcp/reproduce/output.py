"""Output of the figures: one style for all plots; PNG and CSV files are whole or absent."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fcp.errors import FcpError
from fcp.system.files import write_atomically

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
COLOURS = (BLUE, ORANGE, GREEN, PINK)
DPI = 160


def new_figure(
    columns: int, rows: int = 1, *, width: float, height: float, share_y: bool = False
) -> tuple[Figure, np.ndarray]:
    """Make a figure of width × height inches; its axes as an array (rows, columns).

    It belongs to no window and to no global state, so figures can be made in any thread.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    return figure, axes


def tidy(axes: Axes, *, title: str, x: str = "", y: str = "", grid: str = "y") -> None:
    """Label axes, drop the frame's upper and right line, and draw a faint grid along one axis."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x" if grid == "x" else "y", color="#dddddd", linewidth=0.7)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG.

    Raises:
        FcpError: the file cannot be written.
    """
    stream = io.BytesIO()
    with rc_context({"savefig.facecolor": "white"}):
        # Without matplotlib's version inside, a new version can still give the same file.
        figure.savefig(stream, format="png", metadata={"Software": None})
    write_atomically(path, stream.getvalue())


def write_csv(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclasses of one kind, one a line, under their fields' names; None is empty.

    Raises:
        FcpError: no rows, or the file cannot be written.
    """
    if not rows:
        raise FcpError(f"{path}: there is nothing to write; run at least one episode")
    stream = io.StringIO()
    table = csv.DictWriter(stream, [field.name for field in fields(rows[0])], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    write_atomically(path, stream.getvalue().encode())
