"""Options that several commands share, the words for them, and what is asked of their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fcp.errors import FcpError

if TYPE_CHECKING:
    from fcp.data.dataset import FewShotDataset
    from fcp.encoders.cache import FeatureCache

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
BenchmarkName = Literal["pascal5i", "coco20i", "fss1000", "objects", "folder"]
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
FusionOption = Annotated[
    Literal["mean", "confidence", "pooled"],
    typer.Option(help="How several examples become one answer; mean is the paper's."),
]
FeatureCacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Keep what the frozen encoders see here, so that each picture is encoded once in all.",
        metavar="DIR",
    ),
]
FeatureCacheSizeOption = Annotated[
    float, typer.Option(min=0.01, help="Room for them, GiB; the oldest go first.", metavar="GIB")
]


def open_store(folder: Path | None, gigabytes: float) -> FeatureCache | None:
    """Open the store of features that the two options name.

    Raises:
        FcpError: the folder cannot be made.
    """
    if folder is None:
        return None
    from fcp.encoders.cache import FeatureCache

    return FeatureCache(folder, int(gigabytes * 2**30))


def require_fold(data: FewShotDataset, fold: int | None) -> None:
    """Ask for a fold where the benchmark has them.

    Raises:
        FcpError: none is given; the message names them.
    """
    if fold is None and data.folds != (None,):
        folds = ", ".join(map(str, data.folds))
        raise FcpError(f"--fold: {data.title} has folds; say which one: {folds}")
