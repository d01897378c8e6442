"""Uploaded files → checked pictures in one folder, under names of our own making.

No name is trusted, neither an upload's nor one in an archive: of each only the letters of its last
part are kept. An archive is measured before it is unpacked, and refused whole where a name in it
would leave its folder. A picture's header alone is read here.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from fcp.app.bombs import check_zip
from fcp.app.limits import Budget
from fcp.app.pages import own_pages, page_of
from fcp.data.archives import Member, walk
from fcp.data.images import PICTURE_SUFFIXES, read_size
from fcp.errors import FcpError
from fcp.files import open_atomically, write_atomically

ARCHIVE_SUFFIX = ".zip"
LONGEST_STEM = 120  # bytes; disks allow 255 for a name, and results get longer ones
_ODD = re.compile(r"[^\w .()+=@-]")


@dataclass
class Taken:
    """What came of an upload.

    Attributes:
        pictures: that are kept, in order.
        refused: a line for each file that is not.
    """

    pictures: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Intake:
    """Takes uploads into one folder; no two of its pictures have the same stem.

    Args:
        folder: where they go; made where it is missing.
        budget: of the visitor.
        originals: gets the names of pictures; several folders of a visitor may share it.

    Attributes:
        originals: picture → what its visitor calls it, with its folder in an archive.
    """

    def __init__(
        self, folder: Path, budget: Budget, originals: dict[Path, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.budget = budget
        self.originals = {} if originals is None else originals
        self._stems: set[str] = set()

    def take(
        self, uploads: Iterable[Path] | Mapping[Path, str], *, every_page: bool = False
    ) -> Taken:
        """Take pictures and zip archives of them; each is moved or removed.

        Args:
            uploads: the files, with what the visitor calls them where that is another name.
            every_page: make each page of a file a picture of its own.

        Returns:
            What is kept, and why the rest is not.
        """
        taken = Taken()
        names: Mapping[Path, str] = uploads if isinstance(uploads, Mapping) else {}
        for upload in uploads:
            if upload.name.startswith("."):  # what systems leave in folders
                upload.unlink(missing_ok=True)
                continue
            name = plain_path(names.get(upload, upload.name)) or upload.name
            try:
                taken.pictures += self._take(upload, name, taken.refused)
            except FcpError as error:
                taken.refused.append(str(error).replace(str(upload), name))
            finally:
                upload.unlink(missing_ok=True)
        if every_page:
            taken.pictures = [
                page for picture in taken.pictures for page in self._split(picture, taken.refused)
            ]
        return taken

    def _split(self, picture: Path, refused: list[str]) -> list[Path]:
        """Put the pages of a picture in its place, where it has several; a damaged one is left."""
        pages = own_pages(picture)
        if not pages:
            return [picture]
        name = PurePosixPath(self.originals[picture])
        kept: list[Path] = []
        for number in pages:
            called = str(name.with_name(f"{name.stem}-p{number:03}"))
            try:
                suffix, content = page_of(picture, number)
                kept.append(self._keep_page(called + suffix, content))
            except FcpError as error:
                refused.append(str(error).replace(str(picture), str(name)))
        self.forget(picture)
        return kept

    def _keep_page(self, name: str, content: bytes) -> Path:
        self.budget.spend(name, len(content))
        path = self.folder / self._free_name(name)
        try:
            write_atomically(path, content)
        except FcpError:
            self.forget(path, len(content))
            raise
        self.originals[path] = name
        return path

    def _take(self, upload: Path, name: str, refused: list[str]) -> list[Path]:
        if not upload.is_file():
            raise FcpError(f"{upload}: has not arrived whole; upload it again")
        if upload.suffix.lower() != ARCHIVE_SUFFIX:
            return [self._keep(name, upload.stat().st_size, upload)]
        if upload.stat().st_size == 0:
            raise FcpError(f"{upload}: the file is empty; upload it again")
        return self._unpack(upload, refused)

    def _unpack(self, archive: Path, refused: list[str]) -> list[Path]:
        """Take the pictures of an archive: all that can be kept, or none of a bad one."""
        kept: list[Path] = []
        try:
            for member in self._pictures_in(archive):
                try:
                    name = plain_path(str(member.path)) or member.path.name
                    kept.append(self._keep(name, member.size, member))
                except _BadPictureError as error:
                    refused.append(str(error))
        except FcpError:
            for picture in kept:
                self.forget(picture)
            raise
        if not kept:
            raise FcpError(f"{archive}: no picture in it that can be read")
        return kept

    def _pictures_in(self, archive: Path) -> Iterator[Member]:
        if not zipfile.is_zipfile(archive):
            raise FcpError(f"{archive}: no whole zip archive; make it again")
        check_zip(archive, self.budget.limits.total_bytes - self.budget.used)
        for member in walk(archive):
            unsafe = PureWindowsPath(str(member.path))  # walk has seen to the other system's names
            if unsafe.drive or unsafe.root or ".." in unsafe.parts:
                raise FcpError(f"{archive}: unsafe name {str(member.path)!r} in it")
            if member.path.suffix.lower() in PICTURE_SUFFIXES:
                yield member

    def _keep(self, name: str, size: int, source: Path | Member) -> Path:
        """Put a picture in its place, checked; ``name`` is what its visitor calls it."""
        own = source.path.name if isinstance(source, Member) else source.name
        if PurePosixPath(own).suffix.lower() not in PICTURE_SUFFIXES:
            raise _BadPictureError(f"{name}: not a picture that can be read (or a .zip of them)")
        if size == 0:
            raise _BadPictureError(f"{name}: the file is empty; copy it again")
        self.budget.spend(name, size)
        path = self.folder / self._free_name(own)
        try:
            _put(source, path)
            self.budget.check_size(name, read_size(path))
        except FcpError as error:
            self.forget(path, size)
            raise _BadPictureError(str(error).replace(str(path), name)) from error
        self.originals[path] = name
        return path

    def forget(self, picture: Path, size: int | None = None) -> None:
        """Remove a picture and uncount it.

        Args:
            picture: of this folder.
            size: bytes that were counted; None for those on the disk.
        """
        self.budget.give_back(picture.stat().st_size if size is None else size)
        picture.unlink(missing_ok=True)
        self._stems.discard(picture.stem.casefold())
        self.originals.pop(picture, None)

    def _free_name(self, name: str) -> str:
        """Return a safe name whose stem is new here, and reserve it."""
        safe = PurePosixPath(safe_name(name))
        stem, number = safe.stem, 1
        while stem.casefold() in self._stems:
            number += 1
            stem = f"{safe.stem}_{number}"
        self._stems.add(stem.casefold())
        return f"{stem}{safe.suffix}"


class _BadPictureError(FcpError):
    """One picture is refused; the others of its archive go on."""


def _put(source: Path | Member, path: Path) -> None:
    if isinstance(source, Member):
        with open_atomically(path) as file:
            for piece in source.pieces():
                file.write(piece)
        return
    try:
        shutil.move(source, path)
    except OSError as error:
        raise FcpError(f"{path}: cannot be kept ({error.strerror})") from error


def safe_name(name: str) -> str:
    """Make a name for a file out of any text: letters, digits, a few signs and its own suffix.

    Args:
        name: with a suffix of ``PICTURE_SUFFIXES``, in any case.
    """
    last = PurePosixPath(PureWindowsPath(unicodedata.normalize("NFC", name)).name)
    stem = _ODD.sub("_", last.stem).replace(".", "_").lstrip(" _-")
    while len(stem.encode()) > LONGEST_STEM:
        stem = stem[:-1]
    return (stem.rstrip(" _-") or "picture") + last.suffix.lower()


def plain_path(name: str) -> str:
    """Bring what a visitor calls a file to a path that stays below any folder it is put in.

    Returns:
        Its parts as they are, joined by "/", without a drive, control characters and what leads
        up; empty if nothing is left.
    """
    path = PureWindowsPath("".join(c for c in name if c.isprintable()))
    parts = [part for part in path.parts if part not in (path.anchor, path.drive, "..", ".")]
    return "/".join(parts)
