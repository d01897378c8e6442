"""Files of figures: CSV read back, PNG the same for the same numbers, clear errors."""

import csv

import pytest

from fcp.errors import FcpError
from fcp.reproduce.bootstrap import Interval
from fcp.reproduce.output import new_figure, save_png, tidy, write_csv


def test_csv_reads_back(tmp_path):
    write_csv(tmp_path / "a.csv", [Interval(0.5, 0.25, 1), Interval(2, 1, 3)])
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["value"]) for row in rows] == [0.5, 2]
    assert list(rows[0]) == ["value", "low", "high"]


def test_nothing_to_write_is_an_error(tmp_path):
    with pytest.raises(FcpError, match=r"a\.csv: there is nothing to write"):
        write_csv(tmp_path / "a.csv", [])


def test_png_depends_on_what_is_drawn_alone(tmp_path, assert_drawn):
    for name in ("one", "two"):
        figure, axes = new_figure(1, width=2, height=2)
        axes[0, 0].plot([1, 2], color="red")
        tidy(axes[0, 0], title="A line", x="x", y="y")
        save_png(figure, tmp_path / f"{name}.png")
    assert_drawn(tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_missing_folder_is_named(tmp_path):
    figure, _ = new_figure(1, width=1, height=1)
    with pytest.raises(FcpError, match=r"gone/a\.png: cannot be written"):
        save_png(figure, tmp_path / "gone" / "a.png")
