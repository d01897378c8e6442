"""Options that several commands share, and the words for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ModelOption = Annotated[
    str,
    typer.Option(
        help='"tiny" (ships inside), a model folder, or a hub id owner/name.', metavar="MODEL"
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto takes CUDA, then MPS, then CPU.", metavar="auto|cpu|cuda|mps")
]
DataRootOption = Annotated[
    Path,
    typer.Option(
        help="Folder that holds the data sets, such as VOC2012/.",
        envvar="FCP_DATA_ROOT",
        metavar="DIR",
    ),
]
FusionOption = Annotated[
    Literal["mean", "confidence", "pooled"],
    typer.Option(help="How several examples become one answer; mean is the paper's."),
]
