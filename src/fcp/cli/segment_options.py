"""Options of ``fcp segment``."""

from __future__ import annotations

from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer


class FormatName(StrEnum):
    """Keys of ``formats.FORMATS``, which would take half a second to import for ``--help``."""

    PNG = "png"
    COCO = "coco"
    COCO_POLYGONS = "coco-polygons"
    YOLO = "yolo"
    LABELME = "labelme"
    LABEL_STUDIO = "label-studio"
    CVAT = "cvat"
    DAVIS = "davis"


class AppearanceName(StrEnum):
    """Values of ``Appearances``."""

    AUTO = "auto"
    OFF = "off"


def _finite(value: float | None) -> float | None:
    """Refuse infinity and "not a number", which pass a range."""
    if value is not None and not isfinite(value):
        raise typer.BadParameter(f"{value} is no number that can be compared; give a finite one")
    return value


SupportOption = Annotated[
    Path,
    typer.Option(
        help="Examples: a folder of pictures and masks, one such folder for each class, or "
        "files of COCO, LabelMe or YOLO.",
        metavar="DIR",
    ),
]
QueryOption = Annotated[
    list[Path], typer.Option(help="Photos: a folder, or files; or videos.", metavar="DIR|FILES…")
]
# A shell turns `--query *.jpg` into one value and many arguments.
MoreArgument = Annotated[list[Path] | None, typer.Argument(metavar="FILE", hidden=True)]
OutOption = Annotated[
    Path, typer.Option(help="Output folder for masks/, results.json, report.html ….", metavar="DIR")
]
NegativeOption = Annotated[
    Path | None,
    typer.Option(
        help="Negative examples: objects of no class, laid out like --support.", metavar="DIR"
    ),
]
ClassOption = Annotated[
    str | None,
    typer.Option("--class", help="Segment only this class; or the class name of unnamed examples."),
]
FormatOption = Annotated[
    list[FormatName] | None,
    typer.Option(
        "--format", help="Also write files for other tools; repeatable (docs/formats.md)."
    ),
]
TileOption = Annotated[
    str,
    typer.Option(
        help="Cut photos into overlapping tiles of this side, for small objects; auto chooses by "
        "the size of the objects in the examples.",
        metavar="PX|auto|off",
    ),
]
InstancesOption = Annotated[
    bool, typer.Option("--instances", help="Split each class into its objects.")
]
FramesOption = Annotated[
    bool,
    typer.Option("--frames", help="The photos of a folder, in order, are the frames of a film."),
]
MemoryOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Number of a film's surest frames that join the examples (docs/frames.md).",
        metavar="N",
    ),
]
OverlayVideoOption = Annotated[
    bool,
    typer.Option("--overlay-video", help="Also write each film with its masks on it, as an mp4."),
]
AppearanceOption = Annotated[
    AppearanceName,
    typer.Option(
        help="Also fit a classifier of pixels to the examples, and use it for classes where it "
        "segments the examples better (docs/appearance.md)."
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        callback=_finite,
        help="Smallest probability that a class is in the photo; below it, the class gets no "
        "mask. Default: the model's own threshold (docs/presence.md).",
        metavar="P",
    ),
]
MinAreaOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        callback=_finite,
        help="Smallest area of a class or object: in px, or below 1 as a share of the photo. "
        "Default: one cell of the model's grid (docs/classes.md).",
        metavar="PX|SHARE",
    ),
]
MinScoreOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        callback=_finite,
        help="Smallest score of a class or object. Default: 0.1.",
        metavar="S",
    ),
]
BatchOption = Annotated[
    int, typer.Option(min=1, help="Number of photos at a time; more is faster on a GPU.")
]
RecursiveOption = Annotated[
    bool,
    typer.Option(
        "--recursive/--no-recursive",
        help="Search the subfolders of --query for photos too.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue an earlier run: skip finished photos.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="First remove the files of an earlier run in --out.")
]
