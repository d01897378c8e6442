"""Number of torch's threads: the cores that this process may use and that are free.

By default torch uses one thread for each core. Beside busy processes the threads wait for one
another at the end of each layer, and two threads are then several times slower than one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from fcp.errors import FcpError
from fcp.system.groups import ROOT, folders_of_groups, read_report

CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # torch heeds both
_LOOK_SECONDS = 0.2
_IDLE = (3, 4)  # fields of a line of /proc/stat, after its name: idle, and waiting for a disk


def set_threads(threads: int | None = None) -> int:
    """Set torch's number of threads.

    Args:
        threads: Number of threads; None for the environment's ``OMP_NUM_THREADS``, or without it
            for ``free_cores()``.

    Returns:
        The number that torch uses from now on.

    Raises:
        FcpError: fewer than one.
    """
    if threads is not None and threads < 1:
        raise FcpError(f"threads: expected at least 1, got {threads}")
    if threads is not None or not _is_chosen():
        torch.set_num_threads(threads or free_cores())
    return torch.get_num_threads()


def lower_threads() -> None:
    """Lower torch's threads to the number of free cores; a smaller number stays."""
    if torch.get_num_threads() > 1 and not _is_chosen():
        torch.set_num_threads(min(torch.get_num_threads(), free_cores()))


def free_cores(root: Path = ROOT) -> int:
    """Count the cores that are free at the moment, of those that this process may use.

    Takes 0.2 s, in which the caller should do nothing. Where the system does not report its load
    (other than Linux), all cores count as free.

    Args:
        root: Root of the file system with the system's reports.

    Returns:
        At least 1; heeds the process's affinity and its cgroup's quota.
    """
    cores = _own_cores()
    if len(cores) == 1:
        return 1
    before = read_report(root / "proc/stat")
    time.sleep(_LOOK_SECONDS)
    busy = busy_cores(before, read_report(root / "proc/stat"), cores)
    return min(max(1, round(len(cores) - busy)), usable_cores(root))


def usable_cores(root: Path = ROOT) -> int:
    """Count the cores that this process may use, busy or not; see ``free_cores``."""
    return max(1, min([len(_own_cores()), *(int(quota) for quota in quotas(root))]))


def busy_cores(before: str, after: str, cores: Iterable[int]) -> float:
    """Return how many of these cores were busy between two states of ``/proc/stat``.

    Returns:
        0 … their number; 0 if the states do not hold them.
    """
    first, last = _ticks(before), _ticks(after)
    busy = 0.0
    for core in cores:
        spent = [b - a for a, b in zip(first.get(core, []), last.get(core, []), strict=False)]
        total = sum(spent)
        if total > 0:
            busy += 1 - sum(spent[field] for field in _IDLE) / total
    return busy


def quotas(root: Path = ROOT) -> Iterator[float]:
    """Yield the number of cores that each cgroup above this process allows, if it has a limit."""
    for folder in folders_of_groups("cpu", root):
        yield from _quota_of(folder)


def _quota_of(folder: Path) -> Iterator[float]:
    together = read_report(folder / "cpu.max").split()  # version 2: both in one file, or "max"
    apart = [read_report(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    for words in (together, apart):
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            yield int(words[0]) / int(words[1])


def _ticks(state: str) -> dict[int, list[int]]:
    """Return each core's ticks by kind; the two last kinds count in earlier ones already."""
    found = {}
    for line in state.splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdecimal():
            found[int(name[3:])] = [int(tick) for tick in ticks[:8]]
    return found


def _own_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _is_chosen() -> bool:
    return any(os.environ.get(name) for name in CHOSEN_BY_USER)
