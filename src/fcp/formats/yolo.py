"""YOLO: ``labels/NAME.txt`` beside ``images/NAME.jpg``, a line for each object, class ids from 0.

Coordinates are those of pixel edges, divided by the picture's width and height: 0 … 1. A line of
five numbers is a box (class, centre, width, height), a longer one a polygon (class, x, y, x, y, …).
A polygon has neither holes nor parts: the writer joins them by bridges without area.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from fcp.data.folder import files_in, find_folder, pictures_in
from fcp.data.mask_names import IMAGE_FOLDERS
from fcp.data.prompts import Box
from fcp.errors import FcpError
from fcp.formats.examples import (
    Drawn,
    DrawnPicture,
    Example,
    examples_by_class,
    note_shared_names,
)
from fcp.formats.places import pair_by_stem
from fcp.formats.polygons import fill_polygons, join_polygons, mask_polygons
from fcp.formats.reading import Reading, frame_of
from fcp.formats.records import LabelledPicture
from fcp.formats.text import CLASS_FILES, class_lines, read_lines
from fcp.formats.writer import Writer
from fcp.system.documents import load_yaml, read_text
from fcp.system.files import make_folder, natural, write_atomically, write_beside

NAME_FILES = (*CLASS_FILES, "obj.names", "_darknet.labels")
SLACK = 0.01  # distance outside 0 … 1 that YOLO's own programs allow
_POSE = "a label of key points (YOLO pose); expected boxes or polygons"
TRACKED = 7  # numbers of a box with a confidence and the number of a track
DIGITS = 2  # of px: shares have six, and a box covers every pixel that it touches
WHERE_PICTURES_GO = "# Put the pictures into images/ beside this file, named as their labels.\n"


def read_yolo(path: Path, reading: Reading | None = None) -> dict[str, list[Example]]:
    """Read boxes and polygons of all splits.

    Pictures are expected where YOLO's layout puts them (``images/…`` for ``labels/…``, or beside
    the labels). The paths in the YAML file are ignored, since they are mostly another machine's.

    Args:
        path: Path of a data set's YAML file, or of its folder, with ``data.yaml`` or a list of
            classes.
        reading: Options of the reading, which also collects its notes; None for the defaults.

    Returns:
        Class → examples; classes in the order of their ids.

    Raises:
        FcpError: no class names; or label files without picture and lines that are no object, all
            of which are listed with file and line.
    """
    own = reading or Reading()
    folder = path if path.is_dir() else path.parent
    names = _class_names(path, own)
    pictures = []
    for place, files in yolo_labels(folder).items():
        pairs, faults = pair_by_stem(files, place)
        own.faults += faults
        for picture, labels in pairs:
            with own.each():
                frame = frame_of(picture, labels, own)
                objects = list(_read_objects(labels, names, frame.size, own))
                pictures.append(DrawnPicture(picture, frame.size, labels, objects, frame.turn))
    examples = examples_by_class(pictures, names.values(), own)
    own.finish(folder)
    return examples


def yolo_labels(folder: Path) -> dict[Path, list[Path]]:
    """Find the label files of a data set.

    They are in ``labels`` or in the ``labels`` of its splits, in Darknet's ``obj_train_data``, or
    beside the pictures if a list of classes is there too.

    Returns:
        Folder of pictures → its label files, all in natural order.
    """
    found: dict[Path, list[Path]] = {}
    inside = [folder, *(path for path in sorted(folder.iterdir()) if path.is_dir())]
    for root in filter(None, (find_folder(one, ["labels"]) for one in inside)):
        images = find_folder(root.parent, IMAGE_FOLDERS) or root.parent / "images"
        for file in _texts(root.rglob("*")):
            found.setdefault(images / file.parent.relative_to(root), []).append(file)
    for place in [one for one in inside if one.name.startswith("obj_")]:
        for file in _texts(place.rglob("*")):
            found.setdefault(file.parent, []).append(file)
    if not found and _names_file(folder) is not None:
        stems = {path.stem for path in pictures_in(folder)}
        beside = [file for file in _texts(files_in(folder)) if file.stem in stems]
        found = {folder: beside} if beside else {}
    return {
        pictures: sorted(found[pictures], key=lambda file: natural(file.name))
        for pictures in sorted(found, key=lambda pictures: natural(str(pictures)))
    }


def _texts(files: Iterable[Path]) -> Iterator[Path]:
    for file in files:
        if file.suffix.lower() != ".txt" or file.name.startswith("."):
            continue
        if file.name.casefold() not in NAME_FILES or not _is_list(file):
            yield file


def _is_list(file: Path) -> bool:
    """Return whether a file with the name of a list of classes is one, and no photo's labels."""
    try:
        return not any(map(_is_object, read_lines(file)))
    except FcpError:  # whoever reads the list reports it
        return True


def _is_object(line: str) -> bool:
    """Return whether a line may be a box or a polygon: five numbers or more."""
    fields = line.split()
    try:
        return len([float(field) for field in fields]) >= 5
    except ValueError:
        return False


class YoloWriter(Writer):
    """Writer of ``yolo/labels/NAME.txt``, ``yolo/data.yaml`` and ``yolo/classes.txt``.

    Pictures are not copied: to train on them, put them into ``yolo/images``, named as their label
    files. ``data.yaml`` states no path, so that programs search beside it. The format has no
    scores.
    """

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        super().__init__(out, class_names)
        self.folder = out / "yolo"
        make_folder(self.folder / "labels")
        # Before any label file, so that these never lie there without a list of classes.
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
        """Do nothing: the only common files are the lists of classes, which are written already."""

    def _add(self, picture: LabelledPicture) -> None:
        scale = np.array([picture.size[1], picture.size[0]])
        lines = []
        for found in picture.objects:
            points = join_polygons(mask_polygons(found.mask)) / scale
            numbers = " ".join(f"{number:.6g}" for number in points.reshape(-1))
            lines.append(f"{self.class_ids[found.class_name]} {numbers}\n")
        write_beside(self.folder / "labels" / f"{picture.name}.txt", "".join(lines).encode())


def _class_names(path: Path, reading: Reading) -> Mapping[int, str]:
    """Read the names of the class ids from the YAML file, or else from the list of classes."""
    file = _names_file(path) if path.is_dir() else path
    if file is None:
        raise FcpError(f"{path}: what are the classes of labels/? Add data.yaml or classes.txt")
    is_yaml = file == path or file.suffix.lower() in (".yaml", ".yml")
    names = _names_in_yaml(file) if is_yaml else dict(enumerate(read_lines(file)))
    note_shared_names(names, reading, file)
    return names


def _names_file(folder: Path) -> Path | None:
    """Return the file that names the classes: data.yaml, a list, or the only YAML with names."""
    there = {path.name.casefold(): path for path in files_in(folder)}
    labels = find_folder(folder, ["labels"])
    lists = [there] + ([{p.name.casefold(): p for p in files_in(labels)}] if labels else [])
    for name in ("data.yaml", "data.yml"):
        if name in there:
            return there[name]
    for place in lists:
        for name in NAME_FILES:
            if name in place and _is_list(place[name]):
                return place[name]
    others = [path for name, path in there.items() if name.endswith((".yaml", ".yml"))]
    named = [path for path in others if _has_names(path)]
    return named[0] if len(named) == 1 else None


def _has_names(file: Path) -> bool:
    try:
        return "names" in load_yaml(file)
    except FcpError:  # a file of another program
        return False


def _names_in_yaml(file: Path) -> Mapping[int, str]:
    content = load_yaml(file)
    if "kpt_shape" in content:
        raise FcpError(f"{file}: {_POSE}")
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise FcpError(f"{file}: expected names: a list of class names, or of id: name")
    names = {_number(class_id): name for class_id, name in names.items()}
    _refuse_repeated(file)
    for class_id, name in names.items():
        if type(class_id) is not int or type(name) not in (str, int):
            raise FcpError(
                f"{file}: names: {class_id!r}: {name!r} is no id with its class name; "
                "put the name in quotes"
            )
    return {class_id: str(name) for class_id, name in names.items()}


def _refuse_repeated(file: Path) -> None:
    """Refuse names that a YAML file gives twice, of which its reader keeps the last."""
    root = yaml.compose(read_text(file), yaml.SafeLoader)
    inside = root.value if isinstance(root, yaml.MappingNode) else []
    names = [value for key, value in inside if key.value == "names"]
    if len(names) > 1:
        raise FcpError(f"{file}: names occurs twice; leave one of them")
    ids = [_number(key.value) for one in names if one.id == "mapping" for key, _ in one.value]
    for class_id, times in Counter(ids).items():
        if times > 1:
            raise FcpError(
                f"{file}: names: the id {class_id} occurs twice; give each class its own"
            )


def _number(class_id: object) -> object:
    """Return an id in quotes as a number."""
    is_number = isinstance(class_id, str) and re.fullmatch(r"\s*\d{1,9}\s*", class_id)
    return int(str(class_id)) if is_number else class_id


def _read_objects(
    file: Path, names: Mapping[int, str], size: tuple[int, int], reading: Reading
) -> Iterator[tuple[str, Drawn]]:
    """Yield each line's class and box or polygon; blank lines are skipped."""
    confident = 0
    lines = [line.split() for line in read_lines(file)]
    tracked = _are_tracked([fields for fields in lines if fields])
    for number, fields in enumerate(lines, start=1):
        if not fields:
            continue
        if tracked and len(fields) == TRACKED:
            fields = fields[:5]
        if _is_pose(fields):
            raise FcpError(f"{file}:{number}: {_POSE}")
        # Predictions of programs end with a confidence: then the count is even.
        if len(fields) >= 6 and len(fields) % 2 == 0 and _is_share(fields[-1]):
            fields, confident = fields[:-1], confident + 1
        with reading.each():
            yield _read_object(fields, f"{file}:{number}", names, size)
    if tracked:
        reading.note(
            file,
            "lines of 7 numbers are read as boxes with a confidence and the number of a track, not "
            "as triangles",
        )
    if confident:
        reading.note(file, f"{confident} lines end with a confidence, which does not count")


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


def _is_pose(fields: Sequence[str]) -> bool:
    """Whether a line is a box and key points inside it, each x, y and a visibility of 0, 1 or 2."""
    if len(fields) < 11 or (len(fields) - 5) % 3:
        return False
    try:
        values = np.array(fields[1:], dtype=np.float64)
    except ValueError:
        return False
    middle, sides, rows = values[:2], values[2:4], values[4:].reshape(-1, 3)
    shown = rows[rows[:, 2] > 0, :2]
    plausible = np.isin(rows[:, 2], (0, 1, 2)).all() and (sides > 0).all() and len(shown) > 0
    return bool(plausible and (abs(shown - middle) <= sides / 2 + SLACK).all())


def _are_tracked(lines: Sequence[Sequence[str]]) -> bool:
    """Whether a file's lines of seven numbers are boxes of an object tracker, not triangles.

    These end with a confidence and the number of a track, and all other lines are boxes too.
    """
    sevens = [fields for fields in lines if len(fields) == TRACKED]
    others = [fields for fields in lines if len(fields) not in (5, 6, TRACKED)]
    return bool(sevens) and not others and all(map(_is_tracked, sevens))


def _is_tracked(fields: Sequence[str]) -> bool:
    if not fields[-1].isdecimal() or not all(map(_is_share, fields[1:6])):
        return False
    x, y, width, height = map(float, fields[1:5])
    return width > 0 and height > 0 and _is_inside(_edges(x, y, width, height))


def _is_share(field: str) -> bool:
    try:
        return 0 <= float(field) <= 1
    except ValueError:
        return False


def _near_01(coordinate: float) -> bool:
    return -SLACK <= coordinate <= 1 + SLACK


def _to_pixels(coordinates: np.ndarray, size: tuple[int, int], where: str) -> Drawn:
    if len(coordinates) > 4:
        return fill_polygons([coordinates.reshape(-1, 2) * np.array([size[1], size[0]])], size)
    x, y, width, height = coordinates.tolist()
    if width <= 0 or height <= 0:
        raise FcpError(f"{where}: a box without width or height")
    edges = _edges(x, y, width, height)
    if not _is_inside(edges):
        x0, y0, x1, y1 = edges.tolist()
        raise FcpError(
            f"{where}: the box reaches from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}), beyond its "
            "picture (0 … 1); expected its centre, then its width and height"
        )
    return Box(*(edges * np.array([size[1], size[0]] * 2)).round(DIGITS).tolist())


def _edges(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Return the left, upper, right and lower edge of a box, as shares of its picture's size."""
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]).round(6)


def _is_inside(edges: np.ndarray) -> bool:
    return all(map(_near_01, edges.tolist()))
