"""A run over 130 photos whose every number is known, and the page that tells of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fcp.report.entries import ReportClass, ReportPicture
from fcp.report.write import write_report
from fcp.visualize import class_colours, encode

CLASSES = ("dog", "cat", "ball")
HOSTILE = (
    "</script><img src=x onerror=\"document.title='run'\"><!-- & \u202e\u2028 '\"$1{{run}}.jpg"
)


def picture(number: int, thumbnail: bytes | None) -> ReportPicture:
    """Every 13th fails, dogs are in the odd ones, cats in every third, balls in none."""
    file = f"trip/IMG_{number}.jpg"
    if number % 13 == 0:
        return ReportPicture(file, None, (), 0.1, f"{file}: truncated; save it again")
    here = {"dog": number % 2 == 1, "cat": number % 3 == 0, "ball": False}
    classes = tuple(
        ReportClass(
            name=name,
            score=(number * step % 101) / 101 if here[name] else None,
            presence=0.5 + number / 1000 if here[name] else number / 1000,
            here=here[name],
            area=number / 1000 if here[name] else 0.0,
            area_px=2 * number if here[name] else 0,  # of 40 × 50
        )
        for name, step in zip(CLASSES, (37, 53, 1), strict=True)
    )
    return ReportPicture(file, thumbnail, classes, number / 10, None, size=(40, 50))


@pytest.fixture(scope="session")
def hostile_name() -> str:
    """Return a name that runs wherever it is taken for HTML or script."""
    return HOSTILE


@pytest.fixture(scope="session")
def thumbnail() -> bytes:
    """Return a JPEG of 40×30 px."""
    return encode(np.full((30, 40, 3), 90, np.uint8), "jpeg")


@pytest.fixture(scope="session")
def pictures(thumbnail: bytes) -> list[ReportPicture]:
    """Return the photos of the run."""
    return [picture(number, thumbnail) for number in range(130)]


@pytest.fixture(scope="session")
def report(pictures: list[ReportPicture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the run."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    facts = {"Model": "tiny", "Examples": "3 of each"}
    write_report(path, pictures, title="A trip", facts=facts, colours=class_colours(CLASSES))
    return path


@pytest.fixture(scope="session")
def hostile_report(thumbnail: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page on which everything that has a name has a name that wants to run."""
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    found = ReportClass(HOSTILE, 0.9, 0.8, True, 0.25, 500)
    pictures = [
        ReportPicture(HOSTILE, thumbnail, (found,), 0.1, None, size=(40, 50)),
        ReportPicture(HOSTILE, None, (), 0.1, HOSTILE),
    ]
    colours = class_colours([HOSTILE])
    write_report(path, pictures, title=HOSTILE, facts={HOSTILE: HOSTILE}, colours=colours)
    return path
