"""Official downloads as streams of files: tar, tgz, zip or the unpacked folder, all read alike.

Nothing is unpacked by the names inside, and a name that would leave its folder is refused. The
files of a build are written one by one to their final places, so that an interrupted build can be
continued.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from fcp.errors import FcpError
from fcp.system.files import write_beside

# Phase, number of files done, number of files in all where it is known.
Progress = Callable[[str, int, int | None], None]

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,  # what zipfile raises on a file with a password
    NotImplementedError,  # … and on an unknown compression
)


@dataclass(frozen=True)
class Member:
    """A file in a download.

    Attributes:
        path: Name of the file in the download, as a relative path.
        size: Length in bytes.
        source: Download that holds the file.
        open: Function that returns the content as a stream; valid until the next member.
    """

    path: PurePosixPath
    size: int
    source: Path
    open: Callable[[], IO[bytes]]

    def read(self) -> bytes:
        """Return the content.

        Raises:
            FcpError: the archive is broken.
        """
        return b"".join(self.pieces(-1))

    def pieces(self, most: int = 1 << 20) -> Iterator[bytes]:
        """Yield the content in pieces of at most ``most`` bytes; raises as ``read``."""
        try:
            with self.open() as stream:
                while piece := stream.read(most):
                    yield piece
        except _BROKEN as error:
            raise FcpError(_broken(self.source, error)) from error


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Attributes:
        pictures: Number of pictures that are ready for use.
        problems: One line for each file that was missing or broken and is left out.
    """

    pictures: int
    problems: tuple[str, ...]


def walk(source: Path) -> Iterator[Member]:
    """Go through the files of a download in stored order; hidden files and macOS's are skipped.

    Raises:
        FcpError: missing, no archive, broken or truncated, or with a name that leaves its folder.
    """
    if not source.exists():
        raise FcpError(f"{source}: no such file or folder; check the path")
    try:
        for member in _members(source):
            parts = member.path.parts
            if member.path.is_absolute() or ".." in parts:
                raise FcpError(
                    f"{source}: unsafe name {str(member.path)!r}; not the original download"
                )
            if not any(part.startswith(".") or part == "__MACOSX" for part in parts):
                yield member
    except _BROKEN as error:
        raise FcpError(_broken(source, error)) from error


def store(path: Path, content: Callable[[], bytes]) -> None:
    """Write a complete file or none, in a folder that is made if missing.

    Raises:
        FcpError: it cannot be written; a disk that is full leaves nothing behind.
    """
    write_beside(path, content())


def has_size(path: Path, size: int) -> bool:
    """Return whether a file exists and has the expected length."""
    return path.is_file() and path.stat().st_size == size


def require_space(out: Path, needed: int) -> str:
    """Return a line on the disk space that a build needs and has.

    Args:
        out: Folder to build in; it need not exist yet.
        needed: Space in bytes.

    Raises:
        FcpError: the disk has less free space.
    """
    place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        remedy = "make room or choose another --out"
        raise FcpError(f"{out}: needs {_size(needed)}, its disk has {_size(free)} free; {remedy}")
    return f"needs at most {_size(needed)} in {out}; {_size(free)} are free"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _members(source: Path) -> Iterator[Member]:
    if source.is_dir():
        return _folder_members(source)
    if zipfile.is_zipfile(source):
        return _zip_members(source)
    if tarfile.is_tarfile(source):
        return _tar_members(source)
    raise FcpError(f"{source}: no whole tar or zip archive; download it again")


def _folder_members(source: Path) -> Iterator[Member]:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            name = PurePosixPath(path.relative_to(source).as_posix())
            yield Member(name, path.stat().st_size, path, partial(_open, path))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _zip_members(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                name = PurePosixPath(info.filename)
                yield Member(name, info.file_size, source, partial(archive.open, info))


def _tar_members(source: Path) -> Iterator[Member]:
    # In stored order a compressed archive is never wound back: one pass, whatever its size.
    with tarfile.open(source) as archive:
        for info in archive:
            if info.isreg():
                content = partial(_extract, archive, info)
                yield Member(PurePosixPath(info.name), info.size, source, content)
        _require_end(archive)


def _require_end(archive: tarfile.TarFile) -> None:
    """Refuse an archive cut or damaged at a header, which tarfile takes for a shorter one."""
    stream = archive.fileobj
    stream.seek(archive.offset)
    end = stream.read(tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or any(end):
        raise tarfile.ReadError("no end mark")
    while stream.read(1 << 20):  # gzip compares its checksum only at the end
        pass


def _extract(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return archive.extractfile(info) or io.BytesIO()


def _broken(source: Path, error: Exception) -> str:
    if isinstance(error, NotImplementedError):
        return f"{source}: cannot be unpacked here ({error}); unpack it with another program"
    if isinstance(error, RuntimeError):
        return f"{source}: needs a password ({error}); unpack it with another program"
    if source.is_file() and not (isinstance(error, OSError) and error.errno):
        return (
            f"{source}: broken or truncated archive ({error}); download it again, or create it anew"
        )
    return f"{source}: cannot be read ({error})"
