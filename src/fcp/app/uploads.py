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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
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
        self._earlier: dict[tuple[str, int], list[Path]] = {}  # name and size → pictures

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
        taken, self._earlier = Upload(), self._by_name_and_size() if self.once else {}
        names: Mapping[Path, str] = uploads if isinstance(uploads, Mapping) else {}
        for upload in uploads:
            if upload.name.startswith("."):  # files of the operating system
                upload.unlink(missing_ok=True)
                continue
            name = plain_path(names.get(upload, upload.name)) or upload.name
            try:
                self._take(upload, name, taken)
            except FcpError as error:
                taken.refused.append(str(error).replace(str(upload), name))
            finally:
                upload.unlink(missing_ok=True)
        if every_page:
            whole, taken.pictures = taken.pictures, []
            for picture in whole:
                self._split(picture, taken)
        return taken

    def _by_name_and_size(self) -> dict[tuple[str, int], list[Path]]:
        """Return the pictures of this folder by the visitor's name for them and their bytes."""
        found: dict[tuple[str, int], list[Path]] = {}
        for picture, name in self.originals.items():
            if picture.parent == self.folder:
                found.setdefault((name, picture.stat().st_size), []).append(picture)
        return found

    def _is_known(self, name: str, size: int, source: Path | Member | bytes) -> bool:
        """Return whether an earlier upload brought this name with this content."""
        with suppress(FcpError):  # a damaged archive is reported when the picture is stored
            return any(_is_same(one, source) for one in self._earlier.get((name, size), ()))
        return False

    def _split(self, picture: Path, taken: Upload) -> None:
        """Replace a file of several pages by its pages; damaged pages are refused."""
        pages = own_pages(picture)
        if not pages:
            taken.pictures.append(picture)
            return
        name = PurePosixPath(self.originals[picture])
        for number in pages:
            called = str(name.with_name(f"{name.stem}-p{number:03}"))
            try:
                suffix, content = page_of(picture, number)
                self._keep_page(called + suffix, content, taken)
            except FcpError as error:
                taken.refused.append(str(error).replace(str(picture), str(name)))
        self.forget(picture)

    def _keep_page(self, name: str, content: bytes, taken: Upload) -> None:
        if self._is_known(name, len(content), content):
            taken.known += 1
            return
        self.budget.spend(name, len(content))
        path = self.folder / self._free_name(name)
        try:
            write_atomically(path, content)
        except FcpError:
            self.forget(path, len(content))
            raise
        self.originals[path] = name
        taken.pictures.append(path)

    def _take(self, upload: Path, name: str, taken: Upload) -> None:
        if not upload.is_file():
            raise FcpError(f"{upload}: the upload is incomplete; upload it again")
        if upload.suffix.lower() != ARCHIVE_SUFFIX:
            self._keep(name, upload.stat().st_size, upload, taken)
            return
        if upload.stat().st_size == 0:
            raise FcpError(f"{upload}: the file is empty; upload it again")
        self._unpack(upload, name, taken)

    def _unpack(self, archive: Path, called: str, taken: Upload) -> None:
        """Take the readable pictures of an archive; a bad archive is refused as a whole."""
        inside = Upload(refused=taken.refused)
        try:
            for member in self._pictures_in(archive):
                try:
                    name = plain_path(str(member.path)) or member.path.name
                    self._keep(name, member.size, member, inside)
                except _BadPictureError as error:
                    taken.refused.append(str(error).replace(str(archive), called))
        except FcpError:
            for picture in inside.pictures:
                self.forget(picture)
            raise
        if not inside.pictures and not inside.known:
            raise FcpError(f"{archive}: contains no readable picture")
        taken.pictures += inside.pictures
        taken.known += inside.known

    def _pictures_in(self, archive: Path) -> Iterator[Member]:
        if not zipfile.is_zipfile(archive):
            raise FcpError(f"{archive}: not a complete zip archive; create it again")
        left = self.budget.limits.total_bytes - self.budget.used
        check_zip(archive, left, known=self._earlier.keys())
        for member in walk(archive):
            unsafe = PureWindowsPath(str(member.path))  # walk checks POSIX names
            if unsafe.drive or unsafe.root or ".." in unsafe.parts:
                raise FcpError(f"{archive}: contains the unsafe name {str(member.path)!r}")
            if member.path.suffix.lower() in PICTURE_SUFFIXES:
                yield member

    def _keep(self, name: str, size: int, source: Path | Member, taken: Upload) -> None:
        """Check a picture and move it into the folder, unless an earlier upload brought it.

        Args:
            name: The visitor's name for it.
            size: Its bytes.
            source: Uploaded file, or file in an archive.
            taken: Outcome to add it to.
        """
        own = source.path.name if isinstance(source, Member) else source.name
        if PurePosixPath(own).suffix.lower() not in PICTURE_SUFFIXES:
            raise _BadPictureError(
                f"{name}: not a picture that can be read, nor a .zip of pictures"
            )
        if size == 0:
            raise _BadPictureError(f"{name}: the file is empty; copy it again")
        if self._is_known(name, size, source):
            taken.known += 1
            return
        self.budget.spend(name, size)
        path = self.folder / self._free_name(own)
        try:
            _put(source, path)
            self.budget.check_size(name, read_size(path))
        except FcpError as error:
            self.forget(path, size)
            raise _BadPictureError(str(error).replace(str(path), name)) from error
        self.originals[path] = name
        taken.pictures.append(path)

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


def _is_same(picture: Path, source: Path | Member | bytes) -> bool:
    """Return whether a kept picture has this content."""
    if isinstance(source, Path):
        return filecmp.cmp(picture, source, shallow=False)
    pieces = [source] if isinstance(source, bytes) else source.pieces()
    with picture.open("rb") as file:
        return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)


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
