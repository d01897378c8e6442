"""Benchmarks by name: their data sets, and the folders of these under the data root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fcp.data.class_folders import ClassFolders
from fcp.data.coco import Coco
from fcp.data.dataset import FewShotDataset
from fcp.data.fss1000 import FSS1000
from fcp.data.objects import Objects
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError

BENCHMARKS: dict[str, Callable[[Path], FewShotDataset]] = {
    "pascal5i": PascalVOC,
    "coco20i": Coco,
    "fss1000": FSS1000,
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


def name_of(data: FewShotDataset) -> str | None:
    """Return the key of ``BENCHMARKS`` that opens this kind of data set; None if there is none."""
    return next((name for name, kind in BENCHMARKS.items() if kind is type(data)), None)
