"""Options that several commands share, the words for them, and what is asked of their values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fcp.errors import FcpError

if TYPE_CHECKING:
    from fcp.data.dataset import FewShotDataset
    from fcp.features.cache import FeatureCache

DEFAULT_MODEL = "small"
ModelOption = Annotated[
    str,
    typer.Option(
        help='"small" or the faster "tiny" (both ship inside), a model folder, or a hub id '
        "owner/name.",
        metavar="MODEL",
    ),
]
LOCAL = ("127.0.0.1", "localhost", "::1")  # hosts that nobody else reaches
DeviceOption = Annotated[
    str, typer.Option(help="auto takes CUDA, then MPS, then CPU.", metavar="auto|cpu|cuda|mps")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads of the CPU. Without it OMP_NUM_THREADS holds, or else as many as there are "
        "cores that this process may use and others leave free.",
        metavar="N",
    ),
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


@contextmanager
def needs_extra(command: str, extra: str) -> Iterator[None]:
    """Say in one line which extra of the installation brings what an import inside lacks.

    Raises:
        FcpError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise FcpError(
            f"{command}: needs {error.name}; pip install '.[{extra}]' in the checkout"
        ) from error


def open_store(folder: Path | None, gigabytes: float) -> FeatureCache | None:
    """Open the store of features that the two options name.

    Raises:
        FcpError: the folder cannot be made.
    """
    if folder is None:
        return None
    from fcp.features.cache import FeatureCache

    return FeatureCache(folder, int(gigabytes * 2**30))


def require_fold(data: FewShotDataset, fold: int | None) -> None:
    """Ask for a fold where the benchmark has them.

    Raises:
        FcpError: none is given; the message names them.
    """
    if fold is None and data.folds != (None,):
        folds = ", ".join(map(str, data.folds))
        raise FcpError(f"--fold: {data.title} has folds; say which one: {folds}")
