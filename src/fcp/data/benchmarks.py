"""Benchmarks by name: which data set, and where it lies under the data root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fcp.data.dataset import FewShotDataset
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError

BENCHMARKS: dict[str, Callable[[Path], FewShotDataset]] = {"pascal5i": PascalVOC}


def open_benchmark(name: str, data_root: Path) -> FewShotDataset:
    """Open a benchmark's data set.

    Raises:
        FcpError: no such benchmark, or its data are not under the root.
    """
    if name not in BENCHMARKS:
        raise FcpError(f"benchmark: expected one of {', '.join(BENCHMARKS)}, got {name!r}")
    return BENCHMARKS[name](data_root)
