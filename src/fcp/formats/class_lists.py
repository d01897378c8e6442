"""Lists that name the values or the colours of label maps, as different programs write them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fcp.errors import FcpError
from fcp.formats.text import CLASS_FILES, read_lines
from fcp.system.documents import read_json

NNUNET = "dataset.json"  # also the name of other programs' files
COLOUR_LISTS = ("class_dict.csv", "class_dict_seg.csv", "label_colors.txt")  # CamVid's and alike
LISTS = (*CLASS_FILES, "_classes.csv", "labelmap.txt", *COLOUR_LISTS, NNUNET)
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
            if name in inside and (name != NNUNET or _labels_of_nnunet(inside[name])):
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
    if name in COLOUR_LISTS:
        return _read_colour_table(file)
    if name == NNUNET:
        return ClassList(file, _labels_of_nnunet(file))
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
        value, name = int(fields[0]), fields[1]
        if _is_background(name, is_zero=value == 0):
            continue
        if names.setdefault(value, name) != name:
            raise FcpError(
                f"{file}:{number}: the value {value} is {names[value]!r} and {name!r}; "
                "give each class its own"
            )
    return ClassList(file, names)


def _is_background(name: str, *, is_zero: bool) -> bool:
    folded = name.casefold()
    return folded == BACKGROUND or (is_zero and folded in BACKGROUND_NAMES)


def _is_value(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(HIGHEST)) and int(text) <= HIGHEST


def _read_colours(file: Path) -> ClassList:
    """Read ``label:r,g,b:parts:actions``; lines with # are comments."""
    rows: list[tuple[str, Colour]] = []
    for line in (line for line in read_lines(file) if line and not line.startswith("#")):
        # A class's name may contain colons; parts and actions, which follow, are mostly empty.
        name, *rest = line.rsplit(":", 3)
        colour = _colour(rest[0].split(",")) if rest else None
        if colour is None:
            raise FcpError(f"{file}: expected label:red,green,blue::, got {line!r}")
        rows.append((name.strip(), colour))
    return _of_colours(file, rows)


def _read_colour_table(file: Path) -> ClassList:
    """Read lines of ``name,r,g,b`` after a line of titles, or of ``r g b name``."""
    rows: list[tuple[str, Colour]] = []
    for number, line in enumerate(read_lines(file), start=1):
        fields = [one.strip() for one in line.split("," if file.suffix.lower() == ".csv" else None)]
        first, last = _colour(fields[:3]), _colour(fields[-3:])
        if line and last is not None and len(fields) == 4:
            rows.append((fields[0], last))
        elif line and first is not None and len(fields) > 3:
            rows.append((" ".join(fields[3:]), first))
        elif line and number > 1:
            raise FcpError(f"{file}:{number}: expected a class and its red, green, blue: {line!r}")
    return _of_colours(file, rows)


def _colour(fields: Sequence[str]) -> Colour | None:
    """Return three numbers 0 … 255; None if they are none."""
    if len(fields) != 3 or not all(_is_value(one.strip()) for one in fields):
        return None
    red, green, blue = (int(one) for one in fields)
    return (red, green, blue) if max(red, green, blue) <= 255 else None


def _of_colours(file: Path, rows: Sequence[tuple[str, Colour]]) -> ClassList:
    """Name values by the order of the rows, and colours."""
    names: dict[int, str] = {}
    colours: dict[Colour, str] = {}
    for value, (name, colour) in enumerate(rows):
        is_background = _is_background(name, is_zero=colour == (0, 0, 0))
        own = "" if is_background else name
        known = colours.setdefault(colour, own)
        if known != own:
            both = f"{known or 'the background'} and {own or 'the background'}"
            raise FcpError(f"{file}: {both} have one colour, {colour}; give each its own")
        if not is_background:
            names[value] = name
    if 0 in names:  # no line for the background, which is 0 all the same
        names = {value + 1: name for value, name in names.items()}
    return ClassList(file, names, colours)


def _labels_of_nnunet(file: Path) -> dict[int, str]:
    """Return the names of nnU-Net's ``labels``, without the background; empty for other files."""
    try:
        content = read_json(file, finite=False)
    except FcpError:  # a damaged file of another program
        return {}
    labels = content.get("labels") if isinstance(content, dict) else None
    pairs = labels.items() if isinstance(labels, dict) else []
    # Its version 1 wrote {"1": "cat"}, version 2 writes {"cat": 1}.
    both = [
        (str(one), str(two)) if str(one).isdecimal() else (str(two), str(one)) for one, two in pairs
    ]
    return {int(value): name for value, name in both if _is_value(value) and int(value) > 0}
