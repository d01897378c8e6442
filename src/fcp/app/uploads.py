"""Uploaded files → checked pictures in one folder, under safe names.

No name is trusted, neither an upload's nor one in an archive: only safe characters of its last part
are kept. An archive is measured before it is unpacked, and refused as a whole if a name in it leads
out of its folder. Only the header of each picture is read here.
"""

from __future__ import annotations

import filecmp
import re
import shutil
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from fcp.app.bombs import check_zip
from fcp.app.limits import Budget
from fcp.app.pages import own_pages, page_of
from fcp.data.archives import Member, walk
from fcp.data.images import read_size
from fcp.errors import FcpError
from fcp.system.files import PICTURE_SUFFIXES, open_atomically, write_atomically

ARCHIVE_SUFFIX = ".zip"
LONGEST_STEM = 120  # bytes; disks allow 255 for a name, and results get longer ones
_ODD = re.compile(r"[^\w .()+=@-]")


@dataclass
class Upload:
    """The outcome of an upload.

    Attributes:
        pictures: Files of the kept pictures, in order.
        refused: One line for each refused file, with the reason.
        known: Number of pictures that an earlier upload had brought already.
    """

    pictures: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    known: int = 0


class Intake:
    """A folder for uploads in which no two pictures have the same stem.

    Args:
        folder: Folder for the pictures; created if missing.
        budget: Upload budget of the visitor.
        originals: Mapping to fill with the names of pictures; several folders of a visitor may
            share it.
        once: Whether a picture that an earlier upload brought is left out: same name, same content.

    Attributes:
        originals: Picture → the visitor's name for it, with its folder in an archive.
    """

    def __init__(
        self,
        folder: Path,
        budget: Budget,
        originals: dict[Path, str] | None = None,
        *,
        once: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.budget = budget
        self.once = once
        self.originals = {} if originals is None else originals
        self._stems: set[str] = set()

    def take(
        self, uploads: Iterable[Path] | Mapping[Path, str], *, every_page: bool = False
    ) -> Upload:
        """Take pictures and zip archives of pictures; each file is moved or removed.

        Args:
            uploads: Uploaded files, or file → the visitor's name for it.
            every_page: Whether each page of a file becomes a picture of its own.

        Returns:
            The kept pictures, and the reasons for refusing the others.
        """
        taken, earlier = Upload(), self._by_name()
        names: Mapping[Path, str] = uploads if isinstance(uploads, Mapping) else {}
        for upload in uploads:
            if upload.name.startswith("."):  # files of the operating system
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
        if self.once:
            self._leave_out_known(taken, earlier)
        return taken

    def _by_name(self) -> Mapping[str, Sequence[Path]]:
        """Return the pictures of this folder by the visitor's name for them."""
        found: dict[str, list[Path]] = {}
        for picture, name in self.originals.items():
            if picture.parent == self.folder:
                found.setdefault(name, []).append(picture)
        return found

    def _leave_out_known(self, taken: Upload, earlier: Mapping[str, Sequence[Path]]) -> None:
        """Remove pictures that have the name and the content of an earlier one."""
        uploaded, taken.pictures = taken.pictures, []
        for picture in uploaded:
            same_name = earlier.get(self.originals[picture], ())
            if any(filecmp.cmp(picture, one, shallow=False) for one in same_name):
                self.forget(picture)
                taken.known += 1
            else:
                taken.pictures.append(picture)

    def _split(self, picture: Path, refused: list[str]) -> list[Path]:
        """Replace a file of several pages by its pages; damaged pages are refused."""
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
            raise FcpError(f"{upload}: the upload is incomplete; upload it again")
        if upload.suffix.lower() != ARCHIVE_SUFFIX:
            return [self._keep(name, upload.stat().st_size, upload)]
        if upload.stat().st_size == 0:
            raise FcpError(f"{upload}: the file is empty; upload it again")
        return self._unpack(upload, refused)

    def _unpack(self, archive: Path, refused: list[str]) -> list[Path]:
        """Take the readable pictures of an archive; a bad archive is refused as a whole."""
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
            raise FcpError(f"{archive}: contains no readable picture")
        return kept

    def _pictures_in(self, archive: Path) -> Iterator[Member]:
        if not zipfile.is_zipfile(archive):
            raise FcpError(f"{archive}: not a complete zip archive; create it again")
        check_zip(archive, self.budget.limits.total_bytes - self.budget.used)
        for member in walk(archive):
            unsafe = PureWindowsPath(str(member.path))  # walk checks POSIX names
            if unsafe.drive or unsafe.root or ".." in unsafe.parts:
                raise FcpError(f"{archive}: contains the unsafe name {str(member.path)!r}")
            if member.path.suffix.lower() in PICTURE_SUFFIXES:
                yield member

    def _keep(self, name: str, size: int, source: Path | Member) -> Path:
        """Check a picture and move it into the folder; ``name`` is the visitor's name for it."""
        own = source.path.name if isinstance(source, Member) else source.name
        if PurePosixPath(own).suffix.lower() not in PICTURE_SUFFIXES:
            raise _BadPictureError(
                f"{name}: not a picture that can be read, nor a .zip of pictures"
            )
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
        """Remove a picture and take it off the budget.

        Args:
            picture: File in this folder.
            size: Bytes that were charged; None for the size of the file.
        """
        self.budget.give_back(picture.stat().st_size if size is None else size)
        picture.unlink(missing_ok=True)
        self._stems.discard(picture.stem.casefold())
        self.originals.pop(picture, None)

    def _free_name(self, name: str) -> str:
        """Return a safe name with a stem that is new here, and reserve it."""
        safe = PurePosixPath(safe_name(name))
        stem, number = safe.stem, 1
        while stem.casefold() in self._stems:
            number += 1
            stem = f"{safe.stem}_{number}"
        self._stems.add(stem.casefold())
        return f"{stem}{safe.suffix}"


class _BadPictureError(FcpError):
    """An error of one picture that leaves the others of its archive valid."""


def _put(source: Path | Member, path: Path) -> None:
    if isinstance(source, Member):
        with open_atomically(path) as file:
            for piece in source.pieces():
                file.write(piece)
        return
    try:
        shutil.move(source, path)
    except OSError as error:
        raise FcpError(f"{path}: cannot be stored ({error.strerror})") from error


def safe_name(name: str) -> str:
    """Turn any text into a file name of letters, digits, a few signs and its own suffix.

    Args:
        name: Text that ends with one of ``PICTURE_SUFFIXES``, in any case.
    """
    last = PurePosixPath(PureWindowsPath(unicodedata.normalize("NFC", name)).name)
    stem = _ODD.sub("_", last.stem).replace(".", "_").lstrip(" _-")
    while len(stem.encode()) > LONGEST_STEM:
        stem = stem[:-1]
    return (stem.rstrip(" _-") or "picture") + last.suffix.lower()


def plain_path(name: str) -> str:
    """Turn the visitor's name for a file into a relative path that leads out of no folder.

    Returns:
        The parts of the name joined by "/", without drive, control characters and ".."; empty if
        nothing is left.
    """
    path = PureWindowsPath("".join(c for c in name if c.isprintable()))
    parts = [part for part in path.parts if part not in (path.anchor, path.drive, "..", ".")]
    return "/".join(parts)
