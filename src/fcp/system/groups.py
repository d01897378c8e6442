"""Linux's control groups, which limit a process, such as that of a container. Standard library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def folders_of_groups(controller: str, root: Path = ROOT) -> Iterator[Path]:
    """Yield the folder of each group above this process, of version 1 or 2, from the innermost.

    Args:
        controller: Controller of the limits, "cpu" or "memory".
        root: Root of the file system with the system's reports.
    """
    for line in read_report(root / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # A container sees its own group at the root, though the path is that of the host.
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        inner = top / place.strip("/")
        for folder in (inner, *inner.parents):
            yield folder
            if folder == top:
                break


def read_report(file: Path) -> str:
    """Return the text of a report of the system; empty where there is none."""
    try:
        return file.read_text()
    except OSError:
        return ""
