"""Files that are whole or absent, and their hashes. Standard library only."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fcp.errors import FcpError


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write of which no reader ever sees half: made beside it first, then renamed.

    An exception inside the ``with`` leaves what was there before.

    Raises:
        FcpError: the folder is missing or not writable, or the disk is full; nothing is left.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise FcpError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        # mkstemp makes files that only their owner may read; results are for everyone.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise FcpError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees half of it.

    Raises:
        FcpError: see ``open_atomically``.
    """
    with open_atomically(path) as file:
        file.write(content)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        FcpError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FcpError(f"{path}: cannot be read ({error.strerror})") from error
