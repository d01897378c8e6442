"""Free and peak memory, and return of freed memory to the system. Standard library only."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from fcp.system.groups import ROOT, folders_of_groups, read_report

GIB = 2**30
# Files of a cgroup's limit and use, by its version; version 1 has no limit at a huge number.
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)
TABLE = Path(os.sep, "proc", "meminfo")  # Linux's own, the same on every machine
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's settings, malloc.h
_MOST_KEPT = 2**31 - 1  # bytes; the largest value of a setting


def give_back_memory() -> None:
    """Return freed memory to the system; does nothing if the C library has no call for it.

    glibc keeps memory that was freed in small pieces: 160 MB after fitting to examples.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def keep_freed_memory() -> None:
    """Keep up to 2 GiB of freed memory for what is allocated next; only glibc needs to be told.

    glibc returns each freed block of 32 MiB or more to the system, which clears every page of the
    next one. Large tensors that come and go, as in each step of a training on the CPU, then take
    several times as long as without.
    """
    if sys.platform == "linux":
        choose = getattr(ctypes.CDLL(None), "mallopt", None)
        # Versions before 2.35 refuse the first, and without it the second makes things worse.
        if choose is not None and choose(_MMAP_THRESHOLD, _MOST_KEPT):
            choose(_TRIM_THRESHOLD, _MOST_KEPT)


def peak_memory() -> int | None:
    """Return the largest memory that this process has held, bytes; None where it is not known."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: str) -> float:
    """Return the free memory in GiB that a model on a device can have.

    Args:
        device: "auto" (CUDA where there is one, else the CPU), or the name of a torch device.

    Returns:
        Memory of the CUDA device, or of the system; 0 where the system does not tell.
    """
    if device == "auto" or device.startswith("cuda"):
        _, _, number = device.partition(":")
        graphics = graphics_memory(int(number) if number.isdecimal() else 0)
        if graphics is not None:
            return graphics
    return min([system_memory(), *group_memory()])


def group_memory(root: Path = ROOT) -> Iterator[float]:
    """Yield the free memory in GiB that each cgroup above this process has, if it has a limit.

    Args:
        root: Root of the file system with the system's reports.
    """
    for folder in folders_of_groups("memory", root):
        for names in _LIMITS:
            told = [read_report(folder / name).strip() for name in names]
            if all(text.isdecimal() for text in told):
                limit, used = map(int, told)
                yield max(0, limit - used + _kept_of_files(folder)) / GIB


def _kept_of_files(folder: Path) -> int:
    """Return the bytes that a cgroup uses for what was read from files; they go when needed."""
    report = read_report(folder / "memory.stat").splitlines()
    stat = dict(line.split() for line in report if len(line.split()) == 2)
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def system_memory(table: Path = TABLE) -> float:
    """Return the system's available memory in GiB; all of its memory where only that is told.

    Args:
        table: Linux's table of memory.
    """
    if table.is_file():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 / GIB
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (AttributeError, ValueError, OSError):
        return 0.0


def graphics_memory(number: int = 0) -> float | None:
    """Return the free memory of a CUDA device in GiB; None where torch has none.

    Args:
        number: Number of the device among those that ``CUDA_VISIBLE_DEVICES`` leaves.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None or "+cpu" in metadata.version("torch"):
        return None
    visible = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    chosen = visible[number] if any(visible) and number < len(visible) else str(number)
    asked = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits", f"--id={chosen}"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603
        return int(told.stdout.split("\n", 1)[0]) / 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
