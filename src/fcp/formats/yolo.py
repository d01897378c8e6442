"""YOLO: ``labels/NAME.txt`` beside ``images/NAME.jpg``, a line for each object, class ids from 0.

Coordinates are those of pixel edges, divided by the picture's width and height: 0 … 1. A line of
five numbers is a box (class, centre, width, height), a longer one a polygon (class, x, y, x, y, …).
A polygon can say neither holes nor parts: what is written joins them by bridges without area.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from fcp.config import load_yaml
from fcp.data.folder import natural
from fcp.data.images import read_size
from fcp.data.prompts import Box
from fcp.errors import FcpError
from fcp.files import write_atomically
from fcp.formats.examples import Drawn, DrawnPicture, Example, examples_by_class
from fcp.formats.places import pair_by_stem
from fcp.formats.polygons import fill_polygons, join_polygons, mask_polygons
from fcp.formats.records import LabelledPicture
from fcp.formats.text import CLASS_FILES, class_lines, find_class_file, read_lines
from fcp.formats.writer import Writer, make_folder, write_beside

SLACK = 0.01  # how far outside 0 … 1 YOLO's own programs let coordinates be
WHERE_PICTURES_GO = "# Put the pictures into images/ beside this file, named as their labels.\n"


def read_yolo(path: Path) -> dict[str, list[Example]]:
    """Read boxes and polygons of all splits.

    Pictures are looked for where YOLO's layout puts them (``images/…`` for ``labels/…``), never
    where the YAML file says: its paths are another machine's more often than not.

    Args:
        path: the YAML file of a data set, or its folder, with ``data.yaml`` or a list of classes.

    Returns:
        Class → examples; classes in the order of their ids.

    Raises:
        FcpError: no class names, a label file without picture, or a line that is no object; names
            the file and the line.
    """
    folder = path if path.is_dir() else path.parent
    names = _class_names(path)
    pictures = (
        DrawnPicture(picture, size, labels, list(_read_objects(labels, names, size)))
        for picture, labels in _pairs(folder)
        for size in [read_size(picture)]
    )
    return examples_by_class(pictures, names.values())


def yolo_labels(folder: Path) -> dict[Path, list[Path]]:
    """Find the label files of a data set, in ``labels`` or in the ``labels`` of its splits.

    Returns:
        Folder of pictures → its label files, all in natural order.
    """
    found: dict[Path, list[Path]] = {}
    roots = [path for path in (folder / "labels", *folder.glob("*/labels")) if path.is_dir()]
    for root in roots:
        for file in root.rglob("*.txt"):
            if file.name not in CLASS_FILES and not file.name.startswith("."):
                pictures = root.parent / "images" / file.parent.relative_to(root)
                found.setdefault(pictures, []).append(file)
    return {
        pictures: sorted(found[pictures], key=lambda file: natural(file.name))
        for pictures in sorted(found, key=lambda pictures: natural(str(pictures)))
    }


class YoloWriter(Writer):
    """Writes ``yolo/labels/NAME.txt``, ``yolo/data.yaml`` and ``yolo/classes.txt``.

    Pictures are not copied: to train on them, put them into ``yolo/images``, named as their label
    files. ``data.yaml`` states no path, so that programs look beside it. Scores cannot be said.
    """

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        super().__init__(out, class_names)
        self.folder = out / "yolo"
        make_folder(self.folder / "labels")
        # Before any label file: a list of classes always goes with what is there.
        names = {index: name for name, index in self.class_ids.items()}
        content = {"train": "images", "val": "images", "names": names}
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        lines = class_lines(class_names, self.folder / "classes.txt")
        write_atomically(self.folder / "data.yaml", (WHERE_PICTURES_GO + text).encode())
        write_atomically(self.folder / "classes.txt", lines)

    @classmethod
    def files_of(cls, names: Iterable[str]) -> Iterator[str]:
        """Yield the lists of classes and the label files; see ``Writer``."""
        yield from ("yolo/data.yaml", "yolo/classes.txt")
        yield from (f"yolo/labels/{name}.txt" for name in names)

    def close(self) -> None:
        """Nothing speaks of all pictures but the lists of classes, which are there already."""

    def _add(self, picture: LabelledPicture) -> None:
        scale = np.array([picture.size[1], picture.size[0]])
        lines = []
        for found in picture.objects:
            points = join_polygons(mask_polygons(found.mask)) / scale
            numbers = " ".join(f"{number:.6g}" for number in points.reshape(-1))
            lines.append(f"{self.class_ids[found.class_name]} {numbers}\n")
        write_beside(self.folder / "labels" / f"{picture.name}.txt", "".join(lines).encode())


def _pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each (picture, label file)."""
    for pictures, files in yolo_labels(folder).items():
        yield from pair_by_stem(files, pictures)


def _class_names(path: Path) -> Mapping[int, str]:
    """Read the names of the class ids from the YAML file, or else from the list of classes."""
    if not path.is_dir():
        return _names_in_yaml(path)
    if (path / "data.yaml").is_file():
        return _names_in_yaml(path / "data.yaml")
    listed = find_class_file([path, path / "labels"])
    if listed is None:
        raise FcpError(f"{path}: what are the classes of labels/? Add data.yaml or classes.txt")
    return dict(enumerate(read_lines(listed)))


def _names_in_yaml(file: Path) -> Mapping[int, str]:
    content = load_yaml(file)
    if "kpt_shape" in content:
        raise FcpError(f"{file}: labels of key points (kpt_shape); expected boxes or polygons")
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise FcpError(f"{file}: expected names: a list of class names, or of id: name")
    for class_id, name in names.items():
        if type(class_id) is not int or type(name) not in (str, int):
            raise FcpError(
                f"{file}: names: {class_id!r}: {name!r} is no id with its class name; "
                "put the name in quotes"
            )
    return {class_id: str(name) for class_id, name in names.items()}


def _read_objects(
    file: Path, names: Mapping[int, str], size: tuple[int, int]
) -> Iterator[tuple[str, Drawn]]:
    """Yield each line's class and box or polygon; blank lines are none."""
    for number, line in enumerate(read_lines(file), start=1):
        if line:
            yield _read_object(line.split(), f"{file}:{number}", names, size)


def _read_object(
    fields: Sequence[str], where: str, names: Mapping[int, str], size: tuple[int, int]
) -> tuple[str, Drawn]:
    try:
        class_id, *coordinates = (float(field) for field in fields)
    except ValueError as error:
        raise FcpError(f"{where}: expected numbers alone ({error})") from error
    if class_id not in names:
        known = f"{min(names)} … {max(names)}" if names else "none"
        raise FcpError(f"{where}: unknown class id {fields[0]}; known: {known}")
    if len(coordinates) != 4 and (len(coordinates) < 6 or len(coordinates) % 2):
        raise FcpError(
            f"{where}: {len(fields)} numbers; expected 5 (class and box) "
            "or the class and at least 3 pairs (polygon)"
        )
    wrong = [field for field, at in zip(fields[1:], coordinates, strict=True) if not _near_01(at)]
    if wrong:
        raise FcpError(f"{where}: {wrong[0]} is no share of the picture's size (0 … 1)")
    return names[int(class_id)], _to_pixels(np.array(coordinates), size, where)


def _near_01(coordinate: float) -> bool:
    return -SLACK <= coordinate <= 1 + SLACK


def _to_pixels(coordinates: np.ndarray, size: tuple[int, int], where: str) -> Drawn:
    points = coordinates.reshape(-1, 2) * np.array([size[1], size[0]])
    if len(points) > 2:
        return fill_polygons([points], size)
    (x, y), (width, height) = points.tolist()
    if width <= 0 or height <= 0:
        raise FcpError(f"{where}: a box without width or height")
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
