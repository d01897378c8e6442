"""Plain text with a line for each thing, and lists of classes in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fcp.errors import FcpError

CLASS_FILES = ("classes.txt", "labels.txt")


def read_lines(file: Path) -> list[str]:
    r"""Read UTF-8 text, with or without a byte-order mark: its lines, without outer blanks.

    Only ``\n`` (and ``\r\n``) ends a line: a class name may hold the exotic ends of Unicode.

    Raises:
        FcpError: it cannot be read, or is no text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FcpError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise FcpError(f"{file}: not UTF-8 text; save it as UTF-8") from error
    lines = [line.strip() for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def class_lines(names: Iterable[str], file: Path) -> bytes:
    """Encode class names so that ``read_lines`` reads them.

    Args:
        names: in the order of their ids.
        file: what to call the list in an error.

    Raises:
        FcpError: a name that a line cannot hold.
    """
    names = list(names)
    for name in names:
        if name != name.strip() or "\n" in name or "\r" in name:
            raise FcpError(f"{file}: a line cannot hold the class name {name!r}; rename the class")
    return "".join(f"{name}\n" for name in names).encode()


def find_class_file(folders: Iterable[Path]) -> Path | None:
    """Return the first list of classes that lies in one of the folders."""
    files = (folder / name for folder in folders for name in CLASS_FILES)
    return next((file for file in files if file.is_file()), None)
