"""Options for reading examples and pictures."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from fcp.errors import FcpError

if TYPE_CHECKING:
    from fcp.data.decode import Decoding
    from fcp.formats.reading import Reading


class DrawnOn(StrEnum):
    """Orientation of rotated photos on which annotations were drawn."""

    UPRIGHT = "upright"
    RAW = "raw"


SkipBadOption = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out faulty examples, report them, and continue."),
]
RangeOption = Annotated[
    str,
    typer.Option(
        "--range",
        help="Values shown as black and white, for pictures with more than 8 bits: auto, full, "
        "0:4095, or percentiles such as p1:p99.",
        metavar="auto|full|LOW:HIGH|pLOW:pHIGH",
    ),
]
BandsOption = Annotated[
    str | None,
    typer.Option(help="Bands used as red, green and blue, from 1, such as 4,3,2.", metavar="R,G,B"),
]
PagesOption = Annotated[
    str,
    typer.Option(
        help="Of a TIFF or animation: its largest page or first frame, all of them as photos of "
        "their own, or one by its number. Of a video each frame is read.",
        metavar="largest|all|N",
    ),
]
DrawnOnOption = Annotated[
    DrawnOn,
    typer.Option(
        help="Whether annotations of examples were drawn on photos as displayed (upright) or as "
        "stored (raw), before rotation by EXIF."
    ),
]


def read_decoding(values: str, bands: str | None, pages: str) -> tuple[Decoding, bool]:
    """Parse the options for reading pictures.

    Args:
        values: Value of ``--range``.
        bands: Value of ``--bands``; None for the default.
        pages: Value of ``--pages``.

    Returns:
        The decoding, and whether each page of a file is a photo of its own.

    Raises:
        FcpError: a value cannot be parsed.
    """
    from fcp.data.decode import Decoding
    from fcp.data.value_range import ValueRange

    chosen = None
    if bands is not None:
        parts = bands.split(",")
        if len(parts) not in (1, 3) or not all(part.strip().isdecimal() for part in parts):
            raise FcpError(f"--bands: expected one or three numbers, such as 4,3,2; got {bands!r}")
        chosen = tuple(int(part) for part in parts)
    page = None
    if pages not in ("largest", "all"):
        if not pages.isdecimal() or int(pages) < 1:
            raise FcpError(f"--pages: expected largest, all or a number from 1; got {pages!r}")
        page = int(pages)
    return Decoding(ValueRange.parse(values), chosen, page), pages == "all"


def new_reading(drawn_on: DrawnOn, page: int | None, *, skip_bad: bool) -> Reading:
    """Return the options and the notes for reading examples."""
    from fcp.formats.reading import Reading

    return Reading(skip_bad=skip_bad, drawn_on_raw=drawn_on is DrawnOn.RAW, page=page)
