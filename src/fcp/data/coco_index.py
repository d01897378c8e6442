"""COCO's or LVIS's instances JSON → an index of merged masks: one SQLite file, no painted PNG.

For each picture and class it holds the union of the class's objects as compressed run lengths,
crowds included, as the COCO API paints them; a pixel may belong to two classes. Pictures are added
in chunks, each in its own transaction, so that an interrupted build can be continued.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as rle_tools

from fcp.data.archives import Built, Progress, require_space
from fcp.data.coco_json import run_lengths
from fcp.data.dataset import Split
from fcp.data.folds import COCO_CLASS_COUNT
from fcp.errors import FcpError
from fcp.system.documents import load_json
from fcp.system.files import make_folder, sha256_of

FORMAT = "fcp-coco-1"
_CHUNK = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (
    id TEXT PRIMARY KEY, split TEXT NOT NULL, file TEXT NOT NULL,
    height INTEGER NOT NULL, width INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS masks (
    picture TEXT NOT NULL, class INTEGER NOT NULL, pixels INTEGER NOT NULL, runs BLOB NOT NULL,
    PRIMARY KEY (picture, class)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS problems (split TEXT NOT NULL, line TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Layout:
    """Files of a data set of this kind under the data root.

    Attributes:
        title: Name of the data set for errors.
        command: Command ``fcp data …`` that builds it.
        folder: Folder of the index.
        index: Name of the index.
        annotations: Names of the JSON files in ``annotations/`` of the folder, by split; several
            releases, the preferred one first.
        splits: Splits that the index must hold.
        class_count: Number of categories in each JSON; None for any number.
    """

    title: str
    command: str
    folder: str
    index: str
    annotations: tuple[Mapping[Split, str], ...]
    splits: tuple[Split, ...]
    class_count: int | None


COCO_LAYOUT = Layout(
    title="COCO-20i",
    command="coco",
    folder="COCO",
    index="coco20i.sqlite",
    annotations=tuple(
        {"train": f"instances_train{year}.json", "val": f"instances_val{year}.json"}
        for year in (2014, 2017)
    ),
    splits=("train", "val"),
    class_count=COCO_CLASS_COUNT,
)
# Methods without training need the val pictures alone.
LVIS_LAYOUT = Layout(
    title="LVIS-92i",
    command="lvis",
    folder="LVIS",
    index="lvis92i.sqlite",
    annotations=({"val": "lvis_v1_val.json"},),
    splits=("val",),
    class_count=None,
)


@dataclass(frozen=True)
class AnnotationSource:
    """A parsed instances JSON, with the folder of its pictures.

    Attributes:
        layout: Layout of the data set.
        file: Path of the JSON.
        split: Split that the JSON is, by its name.
        images: Folder that the pictures' names are relative to.
        content: Parsed content of the JSON.
    """

    layout: Layout
    file: Path
    split: Split
    images: Path
    content: Mapping[str, Any]


def build_coco(
    images: Path,
    annotations: Sequence[Path],
    out: Path,
    *,
    layout: Layout = COCO_LAYOUT,
    say: Callable[[str], None],
    progress: Progress,
) -> Built:
    """Build the index under the data root, or continue an interrupted build.

    Args:
        images: Folder of the pictures, or of train2014/ and val2014/ (or 2017).
        annotations: Paths of instances JSON files; "train" or "val" in a name tells the split.
        out: Data root.
        layout: Layout of the data set.
        say: Function that takes the line on disk space before anything is written.
        progress: Function that is called after each chunk of pictures.

    Raises:
        FcpError: a file is no instances JSON, of no known split, or none of its pictures exists;
            the disk is full. What was written stays, and the next run continues after it.
    """
    for file in annotations:
        split_of(file)
        if not file.is_file():
            raise FcpError(f"{file}: no such file; check the path")
    if not images.is_dir():
        raise FcpError(f"{images}: no such folder; give the one of the pictures as --images")
    # Run lengths take about as much space as the polygons; twice that is a safe bound.
    say(require_space(out, 2 * sum(file.stat().st_size for file in annotations)))
    target = out / layout.folder / layout.index
    make_folder(target.parent)
    with clear_errors(target, layout), closing(sqlite3.connect(target)) as database:
        for file in annotations:
            fill(database, read_source(file, images, layout), images, progress)
        _make_movable(database, target.parent.resolve())
        return Built(
            database.execute("SELECT count(*) FROM pictures").fetchone()[0],
            tuple(line for (line,) in database.execute("SELECT line FROM problems")),
        )


def split_of(file: Path) -> Split:
    """Return the split that an instances JSON is, by its name.

    Raises:
        FcpError: the name has neither "train" nor "val" in it, or both.
    """
    match ("train" in file.stem, "val" in file.stem):
        case (True, False):
            return "train"
        case (False, True):
            return "val"
        case _:
            raise FcpError(f'{file}: expected "train" or "val" in its name, to say which it is')


def read_source(file: Path, images: Path, layout: Layout = COCO_LAYOUT) -> AnnotationSource:
    """Read an instances JSON and find its pictures' folder.

    LVIS names a picture by its address alone, ``http://…/train2017/000000000009.jpg``: its file is
    then ``train2017/000000000009.jpg``.

    Raises:
        FcpError: no instances JSON.
    """
    content = load_json(file)
    if not all(isinstance(content.get(key), list) for key in ("images", "annotations")):
        raise FcpError(f"{file}: not a COCO instances JSON (no images or no annotations)")
    for image in content["images"]:
        if isinstance(image, dict) and "file_name" not in image and "coco_url" in image:
            image["file_name"] = "/".join(str(image["coco_url"]).split("/")[-2:])
    name = file.stem.removeprefix("instances_")
    places = (images / name, images / "images" / name, images)
    folder = next(place for place in places if place.is_dir() or place == images)
    return AnnotationSource(layout, file, split_of(file), folder, content)


def fill(
    database: sqlite3.Connection, source: AnnotationSource, root: Path, progress: Progress
) -> None:
    """Put the pictures of one JSON into the index; pictures that it already holds stay.

    Args:
        database: Index, maybe empty.
        source: Parsed JSON.
        root: Folder that the pictures' paths in the index are relative to.
        progress: Function that is called after each chunk.

    Raises:
        FcpError: a malformed JSON, other classes than before, or none of its pictures exists.
    """
    try:
        _fill(database, source, root, progress)
    except (KeyError, TypeError, AttributeError) as error:
        raise FcpError(f"{source.file}: not a COCO instances JSON ({error!r} in it)") from error


@contextmanager
def clear_errors(index: Path, layout: Layout = COCO_LAYOUT) -> Iterator[None]:
    """Turn SQLite's errors on an index into one line.

    Raises:
        FcpError: the index is damaged, locked or cannot be written, or the disk is full.
    """
    try:
        yield
    except sqlite3.Error as error:
        if "full" in str(error):
            remedy = "make room, and"
        elif "unable to open" in str(error) or "readonly" in str(error):
            remedy = "make its place one that can be written, and"
        else:
            remedy = "remove it if it is damaged, and"
        raise FcpError(f"{index}: {error}; {remedy} run fcp data {layout.command} again") from error


@dataclass(frozen=True)
class _Painter:
    """Conversion of one picture of a JSON into rows of the index."""

    source: AnnotationSource
    root: Path
    numbers: Mapping[int, int]  # category id → class id 1, 2, …

    def rows(
        self, image: Mapping[str, Any], objects: Iterable[Mapping[str, Any]]
    ) -> tuple[tuple[object, ...], list[tuple[object, ...]]]:
        """Return the picture's row and those of its masks.

        Raises:
            FcpError: an object that cannot be painted.
        """
        size = (image["height"], image["width"])
        runs = defaultdict(list)
        for annotation in objects:
            class_id = self.numbers[annotation["category_id"]]
            runs[class_id].append(run_lengths(annotation, size, self.source.file))
        merged = {class_id: rle_tools.merge(parts) for class_id, parts in sorted(runs.items())}
        name = Path(image["file_name"])
        file = (self.source.images / name).relative_to(self.root).as_posix()
        masks: list[tuple[object, ...]] = [
            (name.stem, class_id, int(rle_tools.area(mask)), mask["counts"])
            for class_id, mask in merged.items()
            if rle_tools.area(mask)
        ]
        return (name.stem, self.source.split, file, *size), masks


def _fill(
    database: sqlite3.Connection, source: AnnotationSource, root: Path, progress: Progress
) -> None:
    database.executescript(_TABLES)
    wanted, absent = _find_pictures(source, root)
    painter = _Painter(source, root, _prepare(database, source, root))
    objects = defaultdict(list)
    for annotation in source.content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    known = {image["id"] for image in source.content["images"]}
    problems = _strays(source.file, known, objects) + absent
    query = "SELECT id FROM pictures WHERE split = ?"
    there = {picture for (picture,) in database.execute(query, (source.split,))}
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        new = [image for image in chunk if Path(image["file_name"]).stem not in there]
        with database:
            for image in new:
                problems += insert_picture(database, painter, image, objects[image["id"]])
        progress(f"pictures of {source.file.stem}", start + len(chunk), len(wanted))
    with database:
        lines = [(source.split, line) for line in problems]
        database.executemany("INSERT INTO problems VALUES (?, ?)", lines)
        _note(database, f"done {source.split}", "yes")


def _find_pictures(
    source: AnnotationSource, root: Path
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Return the images of a JSON whose files exist, and a line for each of the others.

    Raises:
        FcpError: an image lies outside the root, or none of the files exists.
    """
    images = sorted(source.content["images"], key=lambda image: str(image["file_name"]))
    # Folders are listed: checking 120,000 files one by one takes minutes on a network drive.
    paths = [source.images / image["file_name"] for image in images]
    outside = next((path for path in paths if not path.is_relative_to(root)), None)
    if outside is not None:
        raise FcpError(
            f"{source.file}: its picture {outside} lies outside {root}; name pictures by their "
            "paths in it, or give their folder as --images"
        )
    files = {path for folder in {path.parent for path in paths} for path in folder.glob("*")}
    wanted = [image for image, path in zip(images, paths, strict=True) if path in files]
    absent = [f"{path}: no such picture" for path in paths if path not in files]
    if absent and not wanted:
        none = f"none of the {len(absent)} pictures of {source.file} is there"
        raise FcpError(f"{source.images}: {none}; give their folder as --images")
    return wanted, absent


def _prepare(database: sqlite3.Connection, source: AnnotationSource, root: Path) -> dict[int, int]:
    """Remove the rows of another JSON; return category id → class id."""
    categories = sorted(source.content["categories"], key=lambda category: category["id"])
    layout = source.layout
    if layout.class_count not in (None, len(categories)):
        expected = f"{layout.title} needs the {layout.class_count} categories"
        raise FcpError(f"{source.file}: {len(categories)} categories, {expected}")
    names = [(number, category["name"]) for number, category in enumerate(categories, start=1)]
    split, digest = source.split, f"{sha256_of(source.file)} {root.resolve()}"
    with database:
        if fact_of(database, f"json {split}") != digest:
            theirs = "DELETE FROM masks WHERE picture IN (SELECT id FROM pictures WHERE split = ?)"
            database.execute(theirs, (split,))
            database.execute("DELETE FROM pictures WHERE split = ?", (split,))
        database.execute("DELETE FROM problems WHERE split = ?", (split,))
        database.execute("DELETE FROM facts WHERE name = ?", (f"done {split}",))
        database.executemany("INSERT OR REPLACE INTO classes VALUES (?, ?)", names)
        _note(database, "format", FORMAT)
        _note(database, f"images {split}", str(root.resolve()))
        _note(database, f"json {split}", digest)
        _note(database, f"name {split}", source.file.name)
    return {category["id"]: number for number, category in enumerate(categories, start=1)}


def _make_movable(database: sqlite3.Connection, folder: Path) -> None:
    """Store the pictures' folder as a relative path where it lies in the data root."""
    with database:
        for split in ("train", "val"):
            images = Path(fact_of(database, f"images {split}") or "")
            if images.is_relative_to(folder.parent):
                relative = Path(os.path.relpath(images, folder)).as_posix()
                _note(database, f"images {split}", relative)


def _strays(file: Path, known: set[int], objects: Mapping[int, list[object]]) -> list[str]:
    return [
        f"{file}: picture {number} of {len(found)} annotations is not among its images"
        for number, found in objects.items()
        if number not in known
    ]


def insert_picture(
    database: sqlite3.Connection,
    painter: _Painter,
    image: Mapping[str, Any],
    objects: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Add a picture with all its masks; return the reason where one cannot be painted."""
    try:
        picture, masks = painter.rows(image, objects)
    except FcpError as error:
        return [f"{error}; {image['file_name']} is left out"]
    try:
        database.execute("INSERT INTO pictures VALUES (?, ?, ?, ?, ?)", picture)
    except sqlite3.IntegrityError:
        return [f"{painter.source.file}: {image['file_name']} comes twice; once is left out"]
    database.executemany("INSERT INTO masks VALUES (?, ?, ?, ?)", masks)
    return []


def _note(database: sqlite3.Connection, name: str, value: str) -> None:
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def fact_of(database: sqlite3.Connection, name: str) -> str | None:
    """Return the index's fact of this name: format; json, name, images and done SPLIT."""
    found = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])
