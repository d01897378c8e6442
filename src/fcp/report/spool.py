"""Bytes for a file to come, kept on the disk beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from fcp.errors import FcpError


class Spool:
    """A file without a name, so that it is gone however the program ends; a context closes it.

    Args:
        path: of the file to come; an error names it.

    Raises:
        FcpError: the folder is missing or not writable, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            self._file = tempfile.TemporaryFile(dir=path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # On a full disk closing fails as the last write did; what it holds is not wanted any more.
        with suppress(OSError):
            self._file.close()

    def write(self, content: bytes) -> None:
        """Add to the end."""
        with self._errors():
            self._file.write(content)

    def copy_to(self, file: BinaryIO) -> None:
        """Copy everything to another file."""
        with self._errors():
            self._file.seek(0)
            shutil.copyfileobj(self._file, file)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FcpError(f"{self.path}: cannot be written ({error.strerror})") from error
