"""Options of ``fcp segment``: what is looked for, in which photos, and where the results go."""

from __future__ import annotations

from enum import StrEnum
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


class AppearanceName(StrEnum):
    """Values of ``Appearances``."""

    AUTO = "auto"
    OFF = "off"


SupportOption = Annotated[
    Path,
    typer.Option(
        help="Examples: a folder of pictures and masks, one such folder a class, or the files of "
        "COCO, LabelMe or YOLO.",
        metavar="DIR",
    ),
]
QueryOption = Annotated[
    list[Path], typer.Option(help="The photos: a folder, or files.", metavar="DIR|FILES…")
]
# A shell turns `--query *.jpg` into one value and many arguments.
MoreArgument = Annotated[list[Path] | None, typer.Argument(metavar="FILE", hidden=True)]
OutOption = Annotated[
    Path, typer.Option(help="Where masks/, results.json, report.html … go.", metavar="DIR")
]
NegativeOption = Annotated[
    Path | None,
    typer.Option(help="Examples of what is none of the classes, laid out alike.", metavar="DIR"),
]
ClassOption = Annotated[
    str | None,
    typer.Option("--class", help="Look for this class alone; or the examples' name."),
]
FormatOption = Annotated[
    list[FormatName] | None,
    typer.Option("--format", help="Files for other tools too; may be repeated (docs/formats.md)."),
]
TileOption = Annotated[
    str,
    typer.Option(
        help="Cut photos into overlapping tiles of this side, for small things; auto chooses by "
        "the size of the things in the examples.",
        metavar="PX|auto|off",
    ),
]
InstancesOption = Annotated[
    bool, typer.Option("--instances", help="Split each class into its objects.")
]
AppearanceOption = Annotated[
    AppearanceName,
    typer.Option(
        help="Learn what the classes look like, pixel by pixel, and let that decide where the "
        "examples say that it is better (docs/appearance.md)."
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Draw nothing of a class that is less likely than this to be in the photo; 0 always "
        "draws. Without it the model's own threshold holds (docs/presence.md).",
        metavar="P",
    ),
]
MinAreaOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Draw nothing of a class or an object that is smaller: in px, or below 1 as a share "
        "of the photo. Without it, one cell of the model's grid (docs/classes.md).",
        metavar="PX|SHARE",
    ),
]
MinScoreOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Likewise of one that has a lower score; 0.1 without it.", metavar="S"
    ),
]
BatchOption = Annotated[int, typer.Option(min=1, help="Photos at a time; more helps on a GPU.")]
RecursiveOption = Annotated[
    bool,
    typer.Option(
        "--recursive/--no-recursive",
        help="Look for photos in the folders of --query's folders too.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with an earlier run: skip what it has finished.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Remove the files of an earlier run in --out first.")
]
