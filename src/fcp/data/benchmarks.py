"""Benchmarks by name: their data sets, and the folders of these under the data root."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fcp.data.class_folders import ClassFolders
from fcp.data.coco import Coco
from fcp.data.dataset import FewShotDataset
from fcp.data.fss1000 import FSS1000
from fcp.data.lvis import Lvis
from fcp.data.objects import Objects
from fcp.data.pascal import PascalVOC
from fcp.data.sources import BSDS500, SOURCES
from fcp.errors import FcpError

BENCHMARKS: dict[str, Callable[[Path], FewShotDataset]] = {
    "pascal5i": PascalVOC,
    "coco20i": Coco,
    "fss1000": FSS1000,
    "lvis92i": Lvis,
    "objects": Objects,
    "folder": ClassFolders,
}


def open_benchmark(name: str, data_root: Path, *, pool: Path | None = None) -> FewShotDataset:
    """Open a benchmark's data set.

    Args:
        name: Key of ``BENCHMARKS``.
        data_root: Folder that holds the data sets (for "folder": the folder of classes itself).
        pool: File that lists PASCAL-5i's training pictures, one id a line; None for the list in the
            data root.

    Raises:
        FcpError: no such benchmark, its data are not under the root, or a pool for another
            benchmark than pascal5i.
    """
    if name not in BENCHMARKS:
        raise FcpError(f"benchmark: expected one of {', '.join(BENCHMARKS)}, got {name!r}")
    if pool is None:
        return BENCHMARKS[name](data_root)
    if name != "pascal5i":
        raise FcpError(f"pool: only pascal5i has a list of training pictures to choose, not {name}")
    return PascalVOC(data_root, pool)


def find_benchmarks(data_root: Path) -> tuple[dict[str, FewShotDataset], dict[str, str]]:
    """Open every data set under a data root.

    Args:
        data_root: Folder that holds data sets, or one folder of classes.

    Returns:
        Those that can be opened by the benchmark's name, and for each of the others one line that
        says what is missing and where to get it; BSDS500, which is no benchmark, is among these. A
        folder of classes counts where there is nothing else.

    Raises:
        FcpError: no such folder, or one that holds nothing and is named like a data set.
    """
    if not data_root.is_dir():
        raise FcpError(f"{data_root}: no such folder; check the path")
    found: dict[str, FewShotDataset] = {}
    absent: dict[str, str] = {}
    for name, source in SOURCES.items():
        try:
            if not (data_root / source.folder).is_dir():
                raise FcpError(f"no {source.folder}/")
            found[name] = BENCHMARKS[name](data_root)
        except FcpError as error:
            absent[name] = f"{error}; {source.advice()}"
    if not (data_root / BSDS500.folder).is_dir():
        absent["bsds500"] = (
            f"no {BSDS500.folder}/, of which promptable stages are trained; {BSDS500.advice()}"
        )
    if (data_root / "objects").is_dir():
        try:
            found["objects"] = Objects(data_root)
        except FcpError as error:
            absent["objects"] = str(error)
    if not found and not any((data_root / s.folder).is_dir() for s in SOURCES.values()):
        with suppress(FcpError):
            found["folder"] = ClassFolders(data_root)
    name = data_root.resolve().name
    if not found and name in {source.folder for source in (*SOURCES.values(), BSDS500)}:
        raise FcpError(
            f"{data_root}: no data set inside; if it is one itself, give the folder that holds it, "
            f"{data_root.resolve().parent}"
        )
    return found, absent


def name_of(data: FewShotDataset) -> str | None:
    """Return the key of ``BENCHMARKS`` that opens this kind of data set; None if there is none."""
    return next((name for name, kind in BENCHMARKS.items() if kind is type(data)), None)
