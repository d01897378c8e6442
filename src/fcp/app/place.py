"""The folder of a page that runs: no page outlives its own, and the next one clears what is left.

A page holds a lock on a record in its folder for as long as it lives; the system lets it go however
the page ends. So a folder whose record can be locked is a dead page's, whatever number its process
had.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":  # there a page clears its own folder alone
    import fcntl

PREFIX = "fcp-app-"
RECORD = "owner.pid"
FILES = "files"


@contextmanager
def place_of_a_page() -> Iterator[Path]:
    """Make a folder that goes at the end, after removing those of this user's dead pages.

    Yields:
        The folder for the page's files, without links in its path.
    """
    parent = Path(tempfile.gettempdir())
    remove_dead(parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        with (Path(folder) / RECORD).open("w") as record:
            if sys.platform != "win32":
                fcntl.flock(record, fcntl.LOCK_EX)
            record.write(f"{os.getpid()}\n")
            record.flush()
            files = Path(folder).resolve() / FILES
            files.mkdir()
            yield files


def remove_dead(parent: Path) -> None:
    """Remove the folders below ``parent`` that a dead page of this user has left."""
    for folder in parent.glob(f"{PREFIX}*"):
        if _is_dead_page(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_dead_page(folder: Path) -> bool:
    """Whether it is this user's, and nobody holds its record; without one it may be just made."""
    if sys.platform == "win32":
        return False
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        with (folder / RECORD).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
