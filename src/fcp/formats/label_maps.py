"""Label maps: a PNG for each picture, whose values are class ids; a text file names them.

Line i of ``classes.txt`` or ``labels.txt``, counted from 0, names the value i; line 0 names the
background. The value 255 is VOC's "ignore" where no line names it. A pixel is of one class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from pathlib import Path

import numpy as np

from fcp.data.folder import files_in
from fcp.data.images import empty_labels, label_png, read_labels, require_same_size
from fcp.errors import FcpError
from fcp.files import write_atomically
from fcp.formats.examples import DrawnPicture, Example, examples_by_class
from fcp.formats.places import pair_by_stem
from fcp.formats.records import LabelledPicture
from fcp.formats.run_lengths import to_runs
from fcp.formats.text import CLASS_FILES, class_lines, find_class_file, read_lines
from fcp.formats.writer import Writer, make_folder, write_beside

IGNORE = 255
MAP_FOLDERS = ("masks", "labels")
BACKGROUND = "background"
NO_LABEL = "__ignore__"  # LabelMe's lists start with it; it stands for the value -1


def read_label_maps(folder: Path) -> dict[str, list[Example]]:
    """Read ``images/NAME.jpg`` with ``masks/NAME.png`` (or ``labels/NAME.png``), several classes.

    Returns:
        Class → examples; classes in the order of their values.

    Raises:
        FcpError: no such layout, a map without picture or of another size, a colour picture, or a
            value without a name.
    """
    found = find_label_maps(folder)
    if found is None:
        raise FcpError(f"{folder}: expected images/, masks/ and a list of classes (classes.txt)")
    maps, class_file = found
    lines = read_lines(class_file)
    names = lines[1:] if lines[:1] == [NO_LABEL] else lines
    pairs = pair_by_stem(maps, folder / "images")
    pictures = (_read_map(picture, file, names) for picture, file in pairs)
    examples = examples_by_class(pictures, names[1:])
    if not examples:
        raise FcpError(f"{class_file}: names no value but the background's that is in a mask")
    return examples


def find_label_maps(folder: Path) -> tuple[list[Path], Path] | None:
    """Return the label maps and the list of classes of a folder that is laid out in this way."""
    for name in MAP_FOLDERS:
        inside = files_in(folder / name) if (folder / name).is_dir() else []
        maps = [path for path in inside if path.suffix.lower() == ".png"]
        class_file = find_class_file([folder, folder / name])
        if maps and class_file and (folder / "images").is_dir():
            return maps, class_file
    return None


def write_class_list(folder: Path, class_names: Sequence[str]) -> None:
    """Write ``classes.txt``, which names the values of the label maps in a folder.

    Raises:
        FcpError: a name that a line cannot hold, or the file cannot be written.
    """
    file = folder / CLASS_FILES[0]
    write_atomically(file, class_lines([BACKGROUND, *class_names], file))


class LabelMapWriter(Writer):
    """Writes ``labels/NAME.png`` (VOC's colours; 16-bit grey above 255 classes) and its classes.

    Class i (from 0) has the value i + 1. Where objects overlap, the one with the higher score wins,
    and the earlier one where scores are equal; objects without score come last.
    """

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        super().__init__(out, class_names)
        self.folder = out / "labels"
        make_folder(self.folder)
        # Before any map: a list of classes always goes with what is there.
        write_class_list(self.folder, class_names)

    @classmethod
    def files_of(cls, names: Iterable[str]) -> Iterator[str]:
        """Yield the list of classes and the maps; see ``Writer``."""
        yield f"labels/{CLASS_FILES[0]}"
        yield from (f"labels/{name}.png" for name in names)

    def close(self) -> None:
        """Nothing speaks of all pictures but the list of classes, which is there already."""

    def _add(self, picture: LabelledPicture) -> None:
        labels = empty_labels(picture.size, len(self.class_ids))
        for found in sorted(picture.objects, key=lambda found: -_or_lowest(found.score)):
            labels[found.mask & (labels == 0)] = self.class_ids[found.class_name] + 1
        write_beside(self.folder / f"{picture.name}.png", label_png(labels))


def _or_lowest(score: float | None) -> float:
    return -inf if score is None else score


def _read_map(picture: Path, file: Path, names: Sequence[str]) -> DrawnPicture:
    labels = read_labels(file)
    require_same_size(file, labels.shape, picture)
    values = [int(value) for value in np.unique(labels) if value != 0]
    unnamed = [value for value in values if value >= len(names) and value != IGNORE]
    if unnamed:
        raise FcpError(f"{file}: the list of classes has no line {unnamed[0]} for this value")
    drawings = [(names[value], to_runs(labels == value)) for value in values if value < len(names)]
    height, width = labels.shape
    return DrawnPicture(picture, (height, width), file, drawings)
