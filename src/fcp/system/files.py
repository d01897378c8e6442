"""Files that are complete or absent, temporary content, and hashes. Standard library only."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from fcp.errors import FcpError

_BINARY = getattr(os, "O_BINARY", 0)  # of Windows, which else changes the ends of lines
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.\w{8}", re.DOTALL)  # as ``open_atomically`` names it


# Formats that Pillow reads by itself, and .heic and .heif, with pillow-heif.
PICTURE_SUFFIXES = frozenset(
    ".apng .avif .bmp .gif .heic .heif .j2k .jfif .jp2 .jpe .jpeg .jpg .jpg_large .jpg_small .mpo "
    ".pgm .png .pnm .ppm .tif .tiff .webp".split()
)

# Formats that PyAV reads, with the extra ``video``.
VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .webm".split())


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def leads_nowhere(path: Path) -> bool:
    """Return whether a path is a link whose target does not exist."""
    return path.is_symlink() and not path.exists()


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name, and rename it once it is complete.

    No reader ever sees an incomplete file. An exception inside the ``with`` leaves the old one. A
    file that is replaced hands on its permissions.

    Raises:
        FcpError: the folder is missing or not writable, or the disk is full; nothing is left.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # With the permissions that the process gives to new files; mkstemp takes them away.
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    except OSError as error:
        raise FcpError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except OSError as error:
        raise FcpError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees an incomplete one.

    Raises:
        FcpError: see ``open_atomically``.
    """
    with open_atomically(path) as file:
        file.write(content)


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by name, none of which takes its place before all are complete.

    Raises:
        FcpError: see ``open_atomically``; the old files are still there.
    """
    with ExitStack() as stack:
        for name, content in contents.items():
            file = stack.enter_context(open_atomically(folder / name))
            file.write(content)
            file.flush()  # so that a full disk is noticed here


@contextmanager
def replace_files(folder: Path, keep: Collection[str] = ()) -> Iterator[Path]:
    """Give a temporary folder, whose files move into ``folder`` once all are complete.

    An exception inside the ``with`` leaves the old files.

    Args:
        folder: Folder of the files; made if missing.
        keep: Names of files that stay as they are where ``folder`` has them.

    Raises:
        FcpError: the folder cannot be made or written, or the disk is full.
    """
    make_folder(folder)
    place = str(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as place:
            yield Path(place)
            kept = {name for name in keep if (folder / name).exists()}
            for name in {file.name for file in Path(place).iterdir()} - kept:
                (Path(place) / name).replace(folder / name)
    except FcpError as error:
        raise FcpError(str(error).replace(place, str(folder))) from error
    except OSError as error:
        raise FcpError(f"{folder}: cannot be written ({error.strerror})") from error


def write_beside(path: Path, content: bytes) -> None:
    """Write a file as ``write_atomically`` does, in a folder that is made if missing.

    Raises:
        FcpError: the folder cannot be made or written, or the disk is full.
    """
    make_folder(path.parent)
    write_atomically(path, content)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, if they are missing.

    Raises:
        FcpError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FcpError(f"{folder}: cannot be made ({error.strerror}); choose another") from error


def require_place(file: Path) -> None:
    """Check before hours of work that a result can be written.

    Raises:
        FcpError: the file's folder is missing or not writable, or the file is a folder itself.
    """
    if not file.parent.is_dir():
        raise FcpError(f"{file}: there is no folder {file.parent}; make it first")
    if file.is_dir():
        raise FcpError(f"{file}: is a folder; name a file in it")
    if not os.access(file.parent, os.W_OK):
        raise FcpError(f"{file}: {file.parent} cannot be written; choose another folder")


def remove_leftovers(files: Iterable[Path]) -> None:
    """Remove the temporary versions of these files that a killed process has left."""
    names: dict[Path, set[str]] = {}
    for file in files:
        names.setdefault(file.parent, set()).add(file.name)
    for folder, written in names.items():
        for path in folder.iterdir() if folder.is_dir() else ():
            found = _UNFINISHED.fullmatch(path.name)
            if found and found["name"] in written:
                path.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Return whether a file has the temporary name under which ``open_atomically`` writes."""
    return _UNFINISHED.fullmatch(path.name) is not None


class Spool:
    """Bytes for a later file, kept on the disk beside it, so that memory does not grow.

    It is a file without a name, so that it vanishes however the program ends; a context closes it.

    Args:
        path: Path of the later file; errors name it.

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
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        """Go through all lines, from the first."""
        with self._errors():
            self._file.seek(0)
            # Not `yield from`, which would close the file if the caller stops before the end.
            for line in self._file:  # noqa: UP028
                yield line

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._file.closed

    def close(self) -> None:
        """Close it; may be called again."""
        # On a full disk closing fails as the last write did; the content is not needed any more.
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


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key to sort by: numbers in a name compare as numbers, (0, text) and (number, "")."""
    return [
        (int(part), "") if part.isdecimal() else (0, part.casefold())
        for part in re.split(r"(\d+)", name)
    ]


def plain(path: Path) -> Path:
    """Make a path absolute without following links: ``a/../b`` becomes the ``b`` of this folder."""
    return Path(os.path.abspath(path))
