"""The interface of all formats' writers: pictures are added one by one, files are written whole."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from fcp.errors import FcpError
from fcp.formats.records import LabelledObject, LabelledPicture
from fcp.system.files import Spool, make_folder, open_atomically, plain


class Writer(ABC):
    """Writer of results, picture by picture, in memory that does not grow with their number.

    As a context manager it closes itself at the end. After an exception, the files of single
    pictures stay, each complete, and the common files of all pictures are not written.

    Args:
        out: Output folder; made if missing.
        class_names: Names of all classes, in the order of their ids.

    Raises:
        FcpError: a class name that the format cannot hold, or a folder that cannot be written.
        ValueError: a class that is named twice.

    Attributes:
        needs_pictures: Whether its files refer to pictures, so that a page or frame has to become a
            picture of its own.
    """

    needs_pictures: ClassVar[bool] = True

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        self.out = out
        self.class_ids = {name: index for index, name in enumerate(class_names)}
        if len(self.class_ids) < len(class_names):
            raise ValueError(f"a class is named twice: {class_names}")
        for name in class_names:
            require_text(name)
        make_folder(out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()

    @classmethod
    @abstractmethod
    def files_of(cls, names: Iterable[str]) -> Iterator[str]:
        """Yield the files that it writes for pictures of these names, from the output folder."""

    def add(self, picture: LabelledPicture) -> None:
        """Add one picture.

        Raises:
            FcpError: a file cannot be written.
            ValueError: an object's class is not among ``class_names``.
        """
        unknown = {found.class_name for found in picture.objects} - set(self.class_ids)
        if unknown:
            raise ValueError(f"{picture.file}: unannounced classes {unknown}")
        there = tuple(found for found in picture.objects if not found.is_empty)
        self._add(replace(picture, objects=there))

    @abstractmethod
    def _add(self, picture: LabelledPicture) -> None:
        """Add a picture whose objects are all of known classes and not empty."""

    @abstractmethod
    def close(self) -> None:
        """Write the common files of all pictures; the last call.

        Raises:
            FcpError: a file cannot be written.
        """


class OneFileWriter(Writer):
    """A writer of one file for all pictures, which are kept in a temporary file until the end.

    Pictures are named by their path from the innermost folder that holds all of them, which is
    known only at the end; with one folder of photos, these are their file names.
    """

    file_name: ClassVar[str]

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        super().__init__(out, class_names)
        self.path = out / self.file_name
        self._folders: set[Path] = set()
        self._count = 0
        self._waiting = Spool(self.path)

    @classmethod
    def files_of(cls, names: Iterable[str]) -> Iterator[str]:
        """Yield the one file; see ``Writer``."""
        yield cls.file_name

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            super().__exit__(kind)
        finally:
            self._waiting.close()

    def close(self) -> None:
        """Write the file, once; see ``Writer``."""
        if self._waiting.closed:
            return
        with self._waiting, open_atomically(self.path) as file:
            for piece in self._pieces():
                file.write(piece.encode())

    def _add(self, picture: LabelledPicture) -> None:
        file = plain(picture.file)
        record = {
            "file": str(file),
            "label": picture.name,
            "size": picture.size,
            "objects": [
                {
                    "class": found.class_name,
                    "score": found.score,
                    "by_hand": found.by_hand,
                    **self._pack(found),
                }
                for found in picture.objects
            ],
        }
        self._waiting.write(json.dumps(record).encode() + b"\n")
        self._folders.add(file.parent)
        self._count += 1

    def _root(self) -> Path:
        """Return the innermost folder that holds all pictures so far, absolute."""
        return Path(os.path.commonpath(self._folders)) if self._folders else plain(self.out)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield ``name``, ``size`` and ``objects`` of each picture."""
        root = self._root()
        for line in self._waiting:
            record = json.loads(line)
            yield {**record, "name": Path(record["file"]).relative_to(root).as_posix()}

    @abstractmethod
    def _pack(self, found: LabelledObject) -> dict[str, Any]:
        """Return an object's mask in the format's form, as plain values."""

    @abstractmethod
    def _pieces(self) -> Iterator[str]:
        """Yield the file's text; ``_records`` may be called several times."""


def require_text(class_name: str) -> None:
    """Refuse a class name that no file can hold.

    A folder's name may hold bytes that are not text, which Python keeps as lone surrogates.

    Raises:
        FcpError: the name is no text.
    """
    try:
        class_name.encode()
    except UnicodeEncodeError as error:
        raise FcpError(f"the class name {class_name!r} is no text; rename the class") from error
