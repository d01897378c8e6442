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
BenchmarkName = Literal["pascal5i", "coco20i", "fss1000", "folder"]
BenchmarkOption = Annotated[
    BenchmarkName,
    typer.Option(help="Which data set; folder: --data-root holds CLASS/images and CLASS/masks."),
]
PoolOption = Annotated[
    Path | None,
    typer.Option(
        help="PASCAL-5i's training pictures, one id a line; otherwise ImageSets' own list.",
        metavar="FILE",
    ),
]
SamplerName = Literal["classic", "hsnet"]
SamplerOption = Annotated[
    SamplerName,
    typer.Option(help="classic: the benchmark's own; hsnet: a class fixed for each row."),
]
