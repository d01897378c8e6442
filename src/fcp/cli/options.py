"""Options that several commands share, and checks of their values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        help='"small" or the faster "tiny" (both ship inside), a model folder, a hub id '
        'owner/name, or a method without training: "free" (chosen by what is installed and by '
        "memory), free:METHOD+BACKBONE+SEGMENTER (docs/methods/free.md).",
        metavar="MODEL",
    ),
]
LOCAL = ("127.0.0.1", "localhost", "::1")  # hosts that other machines cannot reach
DeviceOption = Annotated[
    str,
    typer.Option(help="Device; auto takes CUDA, then MPS, then CPU.", metavar="auto|cpu|cuda|mps"),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of CPU threads. Default: OMP_NUM_THREADS, or the number of free cores that "
        "this process may use.",
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
BenchmarkName = Literal["pascal5i", "coco20i", "fss1000", "lvis92i", "objects", "folder"]
BenchmarkOption = Annotated[
    BenchmarkName,
    typer.Option(help="Data set; folder: --data-root holds CLASS/images and CLASS/masks."),
]
PoolOption = Annotated[
    Path | None,
    typer.Option(
        help="Training pictures of PASCAL-5i, one id per line. Default: the list in ImageSets.",
        metavar="FILE",
    ),
]
SamplerName = Literal["classic", "hsnet"]
SamplerOption = Annotated[
    SamplerName,
    typer.Option(help="classic: the benchmark's own rule; hsnet: a fixed class for each row."),
]
FusionOption = Annotated[
    Literal["mean", "confidence", "pooled"],
    typer.Option(
        help="Fusion of several examples into one result; mean is the paper's, also of a free "
        "method."
    ),
]
FeatureCacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder to store the features of the frozen encoders, so that each picture is "
        "encoded only once.",
        metavar="DIR",
    ),
]
_CACHE_GIB = 20
FeatureCacheSizeOption = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        help="Size limit of the feature cache in GiB; the oldest are removed first. Default: 20.",
        metavar="GIB",
    ),
]


def settle_model(model: str, device: str) -> str:
    """Return a model's full name; of ``free`` the method that was chosen, which is printed.

    The encoders of a method without training are found, or fetched, before torch is loaded.

    Raises:
        FcpError: an unknown name, or encoders that are missing and cannot be fetched.
    """
    from fcp.method.names import PREFIX, is_free, parse_name

    if not is_free(model):
        return model
    from fcp.models.free import choose_free, find_parts

    name = parse_name(model)
    if model == PREFIX:
        name, sentence = choose_free(device)
        typer.echo(f"--model {PREFIX} is {sentence}", err=True)
    find_parts(name)
    return str(name)


@contextmanager
def needs_extra(command: str, extra: str) -> Iterator[None]:
    """Turn a failed import into an error that names the extra to install.

    Args:
        command: Name of the command for the error.
        extra: Extra of the installation that provides the package.

    Raises:
        FcpError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise FcpError(
            f"{command}: needs {error.name}; pip install '.[{extra}]' in the checkout"
        ) from error


def refuse_idle_size(folder: Path | None, gigabytes: float | None) -> None:
    """Check that a size limit of the feature cache comes with its folder.

    Raises:
        FcpError: it does not.
    """
    if folder is None and gigabytes is not None:
        raise FcpError("--feature-cache-gib: without effect without --feature-cache; leave it out")


def open_store(folder: Path | None, gigabytes: float | None) -> FeatureCache | None:
    """Open the feature cache that the two options name; None without a folder.

    Raises:
        FcpError: the folder cannot be created.
    """
    if folder is None:
        return None
    from fcp.features.cache import FeatureCache

    return FeatureCache(folder, cache_bytes(gigabytes))


def cache_bytes(gigabytes: float | None) -> int:
    """Return the size limit of the feature cache in bytes; None is the default."""
    return int((_CACHE_GIB if gigabytes is None else gigabytes) * 2**30)


def refuse_overwriting(outputs: Sequence[Path | None], inputs: Sequence[Path | None]) -> None:
    """Refuse a file to write that is one to read, or that is to be written twice.

    Args:
        outputs: Files to write; None for none.
        inputs: Files to read; None for none.

    Raises:
        FcpError: there is such a file.
    """
    read = {file.resolve() for file in inputs if file is not None}
    written: set[Path] = set()
    for file in (one for one in outputs if one is not None):
        if file.resolve() in read:
            raise FcpError(f"{file}: is read, and would be overwritten; write to another file")
        if file.resolve() in written:
            raise FcpError(f"{file}: would be written twice; name two files")
        written.add(file.resolve())


def require_fold(data: FewShotDataset, fold: int | None) -> None:
    """Require a fold if the benchmark has folds.

    Raises:
        FcpError: no fold is given; the message lists them.
    """
    if fold is None and data.folds != (None,):
        folds = ", ".join(map(str, data.folds))
        raise FcpError(f"--fold: {data.title} has folds; choose one of: {folds}")
