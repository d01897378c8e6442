"""A folder that one run at a time writes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fcp.errors import FcpError

LOCK_FILE = ".lock"
_TRIES = 100


@contextmanager
def hold_folder(folder: Path, *, waits: bool = False) -> Iterator[None]:
    """Keep other runs out of a folder, which is created if missing, until the context ends.

    The system releases the lock however the process ends. Folders that were created for the context
    and are empty when it ends are removed.

    Args:
        folder: Folder to hold.
        waits: Whether to wait until another run releases it.

    Raises:
        FcpError: another run holds the folder, or it cannot be written.
    """
    created = [one for one in (folder, *folder.parents) if not one.exists()]
    lock = FileLock(folder / LOCK_FILE, timeout=-1 if waits else 0)
    try:
        _take(lock, folder)
    except Timeout as error:
        raise FcpError(
            f"{folder}: another run is writing to it; wait until it ends, or choose another --out"
        ) from error
    except OSError as error:
        reason = f"cannot be written ({error.strerror})"
        raise FcpError(f"{folder}: {reason}; choose another --out") from error
    try:
        yield
    finally:
        # Removed while it is held: filelock does not take a file that is no longer in the folder.
        with suppress(OSError):  # Windows removes it on release
            (folder / LOCK_FILE).unlink()
        lock.release()
        with suppress(OSError):  # not empty
            for one in created:
                one.rmdir()


def _take(lock: FileLock, folder: Path) -> None:
    """Make the folder and lock it, again if another run removes it, or one above, in between."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            return
    folder.mkdir(parents=True, exist_ok=True)
    lock.acquire()
