"""Benchmarks by name: which data set, and where it lies under the data root."""

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
        name: a key of ``BENCHMARKS``.
        data_root: folder that holds the data sets (for "folder": the folder of classes itself).
        pool: file that lists PASCAL-5i's training pictures, one id a line; None takes the data
            root's own.

    Raises:
        FcpError: no such benchmark, its data are not under the root, or a pool where there is
            none to choose.
    """
    if name not in BENCHMARKS:
        raise FcpError(f"benchmark: expected one of {', '.join(BENCHMARKS)}, got {name!r}")
    if pool is None:
        return BENCHMARKS[name](data_root)
    if name != "pascal5i":
        raise FcpError(f"pool: only pascal5i has a list of training pictures to choose, not {name}")
    return PascalVOC(data_root, pool)
