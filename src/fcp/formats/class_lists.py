"""Lists that name the values of label maps: ``classes.txt``, Roboflow's CSV, CVAT's colours."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fcp.errors import FcpError
from fcp.formats.text import CLASS_FILES, read_lines

LISTS = (*CLASS_FILES, "_classes.csv", "labelmap.txt")
BACKGROUND = "background"
# Names of the background for the value 0 or black; for other values, only ``BACKGROUND``.
BACKGROUND_NAMES = frozenset(
    {BACKGROUND, "_background_", "__background__", "bg", "none", "nothing", "void", "unlabeled"}
    | {"unlabelled", "other", "others", "unknown"}
)
HIGHEST = 65_535  # highest value that a label map can hold
NO_LABEL = "__ignore__"  # LabelMe's lists start with it; it stands for the value -1

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassList:
    """A list of classes.

    Attributes:
        file: File of the list.
        names: Value → class, without the background's value.
        colours: Colour → class, of lists that name colours; "" is the background.
        first: Text of the line of the value 0.
    """

    file: Path
    names: Mapping[int, str]
    colours: Mapping[Colour, str] = field(default_factory=dict)
    first: str = BACKGROUND


def find_list(folders: Iterable[Path]) -> Path | None:
    """Return the first list of classes that exists in one of the folders."""
    for folder in (folder for folder in folders if folder.is_dir()):
        inside = {path.name.casefold(): path for path in folder.iterdir() if path.is_file()}
        for name in LISTS:
            if name in inside:
                return inside[name]
    return None


def read_list(file: Path) -> ClassList:
    """Read any of the lists, recognised by its name.

    Raises:
        FcpError: it cannot be read, or a line does not name a class.
    """
    name = file.name.casefold()
    if name == "_classes.csv":
        return _read_csv(file)
    if name == "labelmap.txt":
        return _read_colours(file)
    lines = read_lines(file)
    names = lines[1:] if lines[:1] == [NO_LABEL] else lines
    return ClassList(file, dict(enumerate(names[1:], start=1)), first=next(iter(names), BACKGROUND))


def _read_csv(file: Path) -> ClassList:
    """Read ``Pixel Value, Class``."""
    names: dict[int, str] = {}
    try:
        rows = list(csv.reader(read_lines(file)))
    except csv.Error as error:
        raise FcpError(f"{file}: not a list of values and classes ({error})") from error
    for number, row in enumerate(rows, start=1):
        fields = [one.strip() for one in row]
        if not any(fields) or (number == 1 and not fields[0].isdecimal()):
            continue
        if len(fields) < 2 or not _is_value(fields[0]):
            raise FcpError(f"{file}:{number}: expected a value and its class, got {row}")
        if not _is_background(fields[1], is_zero=int(fields[0]) == 0):
            names[int(fields[0])] = fields[1]
    return ClassList(file, names)


def _is_background(name: str, *, is_zero: bool) -> bool:
    folded = name.casefold()
    return folded == BACKGROUND or (is_zero and folded in BACKGROUND_NAMES)


def _is_value(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(HIGHEST)) and int(text) <= HIGHEST


def _read_colours(file: Path) -> ClassList:
    """Read ``label:r,g,b:parts:actions``; lines with # are comments."""
    names: dict[int, str] = {}
    colours: dict[Colour, str] = {}
    lines = [line for line in read_lines(file) if line and not line.startswith("#")]
    for value, line in enumerate(lines):
        # A class's name may contain colons; parts and actions, which follow, are mostly empty.
        name, *rest = line.rsplit(":", 3)
        try:
            red, green, blue = (int(part) for part in rest[0].split(","))
        except (ValueError, IndexError) as error:
            raise FcpError(f"{file}: expected label:red,green,blue::, got {line!r}") from error
        is_background = _is_background(name.strip(), is_zero=(red, green, blue) == (0, 0, 0))
        colours[red, green, blue] = "" if is_background else name.strip()
        if not is_background:
            names[value] = name.strip()
    if 0 in names:  # no line for the background, which is 0 all the same
        names = {value + 1: name for value, name in names.items()}
    return ClassList(file, names, colours)
