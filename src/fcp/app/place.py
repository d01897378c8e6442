"""The temporary folder of a running page, and the removal of folders that dead pages have left.

A page holds a lock on a file in its folder as long as it runs; the system releases the lock however
the page ends. A folder whose file can be locked therefore belongs to a dead page, whatever its
process id.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

if sys.platform != "win32":  # there a page removes only its own folder
    import fcntl

PREFIX = "fcp-app-"
RECORD = "owner.pid"
FILES = "files"


@contextmanager
def place_of_a_page() -> Iterator[Path]:
    """Remove the folders of this user's dead pages, and create a folder for a new page.

    The folder is removed when the context ends.

    Yields:
        The folder for the page's files; its path contains no links.
    """
    parent = Path(tempfile.gettempdir())
    remove_dead(parent)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        with _new_record(Path(folder)) as record:
            record.write(f"{os.getpid()}\n")
            record.flush()
            files = Path(folder).resolve() / FILES
            files.mkdir()
            yield files


def _new_record(folder: Path) -> TextIO:
    """Open the record of a new page, which is locked when it gets its name."""
    if sys.platform == "win32":
        return (folder / RECORD).open("w")
    record = (folder / f".{RECORD}").open("w")
    fcntl.flock(record, fcntl.LOCK_EX)
    (folder / f".{RECORD}").rename(folder / RECORD)
    return record


def remove_dead(parent: Path) -> None:
    """Remove the folders in ``parent`` that dead pages of this user have left."""
    for folder in parent.glob(f"{PREFIX}*"):
        if _is_dead_page(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_dead_page(folder: Path) -> bool:
    """Return whether a folder is this user's and its record unlocked; new ones have no record."""
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
