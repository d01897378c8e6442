"""Free and peak memory, and return of freed memory to the system. Standard library only."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

GIB = 2**30
TABLE = Path(os.sep, "proc", "meminfo")  # Linux's own, the same on every machine


def give_back_memory() -> None:
    """Return freed memory to the system; does nothing if the C library has no call for it.

    glibc keeps memory that was freed in small pieces: 160 MB after fitting to examples.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


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
    return system_memory()


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
