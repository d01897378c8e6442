"""Text files of annotation tools: lines, lists of classes, JSON and XML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

from fcp.errors import FcpError
from fcp.system.documents import read_json, read_text

CLASS_FILES = ("classes.txt", "labels.txt", "class_names.txt")


def read_lines(file: Path) -> list[str]:
    r"""Read the lines of UTF-8 text, with or without a byte-order mark, without outer blanks.

    Only ``\n`` (and ``\r\n``) ends a line: a class name may contain Unicode's other line
    separators.

    Raises:
        FcpError: it cannot be read, or is no text.
    """
    lines = [line.strip() for line in read_text(file).split("\n")]
    return lines if lines[-1] else lines[:-1]


def load_annotations(file: Path) -> Any:  # noqa: ANN401  (any JSON value)
    """Read a JSON of an annotation tool: UTF-8, with or without a byte-order mark.

    Raises:
        FcpError: it cannot be read, is no text, or no JSON of an object or a list.
    """
    content = read_json(file, finite=False)  # tools write NaN for an area that they do not know
    if not isinstance(content, dict | list):
        raise FcpError(f"{file}: expected a JSON object")
    return content


def parse_xml(file: Path) -> Element:
    """Read an XML without entities, which are not needed and could be made to fill the memory.

    Raises:
        FcpError: it cannot be read, is no XML, or declares entities.
    """
    try:
        content = file.read_bytes()
        if re.search(rb"<!(DOCTYPE|ENTITY)", content):
            raise FcpError(f"{file}: holds a DOCTYPE, which no tool needs here; export it anew")
        return fromstring(content)  # noqa: S314  (no entities are in it)
    except OSError as error:
        raise FcpError(f"{file}: cannot be read ({error.strerror})") from error
    except (ParseError, ValueError, LookupError) as error:  # the last: an unknown encoding
        raise FcpError(f"{file}: not valid XML ({error})") from error


def class_lines(names: Iterable[str], file: Path) -> bytes:
    """Encode class names so that ``read_lines`` reads them.

    Args:
        names: Class names in the order of their ids.
        file: Path of the list, for an error.

    Raises:
        FcpError: a name that a line cannot hold.
    """
    names = list(names)
    for name in names:
        if name != name.strip() or "\n" in name or "\r" in name:
            raise FcpError(f"{file}: a line cannot hold the class name {name!r}; rename the class")
    return "".join(f"{name}\n" for name in names).encode()
