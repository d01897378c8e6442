"""Reader of Label Studio's JSON: tasks with annotations, or with predictions as written here.

Coordinates are those of the picture as stored (``fcp.formats.label_studio_shapes``), also of
regions that were drawn while it was shown rotated: the editor rotates its view alone, and
``image_rotation`` records how that was (label-studio, web/libs/editor: ``Image.js``,
``Region2RLE``; versions before turned the numbers back on saving).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcp.errors import FcpError
from fcp.formats.examples import Drawn, DrawnPicture, Example, examples_by_class
from fcp.formats.label_studio import is_negative
from fcp.formats.label_studio_shapes import KINDS, Size, read_shape
from fcp.formats.places import Finder, stated_path
from fcp.formats.reading import Reading, frame_of
from fcp.system.files import PICTURE_SUFFIXES

# Label Studio calls an upload "1a2b3c4d-photo.jpg", with the first digits of a random number.
_UPLOAD = re.compile(r"(?:.*/)?([0-9a-f]{8})-([^/]+)", re.DOTALL)


def read_label_studio(
    file: Path, content: object, reading: Reading | None = None
) -> dict[str, list[Example]]:
    """Read brush strokes, polygons, rectangles, ellipses and key points.

    All annotations of a task that were not cancelled count; in a task without annotations, its
    first prediction. A task that was skipped, all of whose annotations were cancelled, is left out.

    Args:
        file: Path of the file, for errors; the pictures lie beside it.
        content: Parsed content of the file: a list of tasks.
        reading: Options of the reading, which also collects its notes; None for the defaults.

    Returns:
        Label → examples; labels in the order of their first region, pictures in the order of the
        file.

    Raises:
        FcpError: no tasks, or regions with faults; all faults are listed.
    """
    own = reading or Reading()
    tasks = content if isinstance(content, list) else [content]
    folders = (file.parent, file.parent / "images", file.parent.parent / "images")
    finder = Finder(file, folders, own)
    pictures = []
    for number, task in enumerate(tasks, start=1):
        with own.each():
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                raise FcpError(f"{file}: task {number}: not a task of Label Studio (no data)")
            pictures += list(_pictures(task, finder, own))
    examples = examples_by_class(pictures, reading=own)
    own.finish(file)
    return examples


def _pictures(task: Mapping[str, Any], finder: Finder, reading: Reading) -> Iterator[DrawnPicture]:
    """Yield a task's pictures with the drawings on them, if there are any."""
    regions = [one for one in _regions(task, finder.file, reading) if isinstance(one, dict)]
    shapes = [one for one in regions if _kind(one) is not None]
    labelled = {one.get("id") for one in shapes}
    for kind in {str(one.get("type")) for one in regions if one.get("id") not in labelled}:
        if kind not in _NO_SHAPES:
            where = f"{finder.file}: task {task.get('id')}"
            reading.note(where, f"regions of the type {kind!r} are left out: no shape with a label")
    by_picture: dict[tuple[str, Path], list[Mapping[str, Any]]] = {}
    for tag in dict.fromkeys(str(one.get("to_name")) for one in shapes):
        with reading.each():
            tagged = [one for one in shapes if str(one.get("to_name")) == tag]
            by_picture.setdefault(_find(task, tag, finder, reading), []).extend(tagged)
    for (name, picture), on_it in by_picture.items():
        with reading.each():
            yield _drawn_picture(picture, name, on_it, finder.file, reading)


def _drawn_picture(
    picture: Path, name: str, regions: Sequence[Mapping[str, Any]], file: Path, reading: Reading
) -> DrawnPicture:
    stated = (regions[0].get("original_height"), regions[0].get("original_width"))
    frame = frame_of(picture, file, reading, stated)
    drawings = []
    for number, region in enumerate(regions, start=1):
        where = f"{file}: {picture.name}: region {number}"
        if is_negative(region):
            reading.note(where, "left out: marked as negative, and so not on the object")
            continue
        with reading.each():
            drawings += _drawn(region, frame.size, where)
    return DrawnPicture(picture, frame.size, file, drawings, frame.turn, name)


def _regions(task: Mapping[str, Any], file: Path, reading: Reading) -> list[Any]:
    annotations = _list(task, "annotations", file) or _list(task, "completions", file)
    kept = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")]
    where = f"{file}: task {task.get('id')}"
    if len(kept) > 1:
        reading.note(where, "has several annotations, all of which count")
    if annotations and not kept:  # what the annotator refused to label, the machine may not
        reading.note(where, "left out: skipped by its annotator")
    if not annotations:
        kept = [one for one in _list(task, "predictions", file) if isinstance(one, dict)][:1]
        if kept:
            reading.note(where, "has no annotation; its first prediction counts")
    return [region for one in kept for region in _list(one, "result", file)]


def _list(holder: Mapping[str, Any], name: str, file: Path) -> list[Any]:
    value = holder.get(name) or []
    if not isinstance(value, list):
        raise FcpError(f"{file}: {name}: expected a list, got {value!r}")
    return value


def _kind(region: Mapping[str, Any]) -> str | None:
    """Return the key of a region's labels, such as "brushlabels"; None if it is no shape."""
    value = region.get("value")
    if not isinstance(value, dict):
        return None
    found = next((name for name in KINDS if name in value), None)
    return "labels" if found is None and "labels" in value and _form(value) else found


def _form(value: Mapping[str, Any]) -> str | None:
    """Return the kind of a region that the tag ``Labels`` has labelled, by its numbers."""
    return next((kind for key, kind in _FORMS.items() if key in value), None)


def _find(task: Mapping[str, Any], tag: str, finder: Finder, reading: Reading) -> tuple[str, Path]:
    """Find the picture that a tag of the labelling interface shows, with the name stated for it.

    The task's data tell which it is by the tag's name. A tag may be called otherwise than its data:
    then it shows the only picture among them.
    """
    data = task["data"]
    if isinstance(data.get(tag), str):
        return data[tag], _find_upload(data[tag], finder, reading)
    where = f"{finder.file}: task {task.get('id')}"
    if any(isinstance(one, list) for one in data.values()):
        raise FcpError(f"{where}: a task of several pictures; make a task of each")
    texts = [one for one in data.values() if isinstance(one, str) and one]
    named = [one for one in texts if stated_path(one).suffix.lower() in PICTURE_SUFFIXES]
    found, faults = {}, []
    for name in named or texts:
        try:
            found[_find_upload(name, finder, reading)] = name
        except FcpError as error:
            faults.append(str(error))
    if len(found) > 1:
        names = " or ".join(map(repr, found.values()))
        raise FcpError(
            f"{where}: are the regions of {tag!r} on {names}? Call the Image tag like its data"
        )
    for picture, name in found.items():
        return name, picture
    raise FcpError(faults[0] if faults else f"{where}: expected a picture's file name in its data")


def _find_upload(name: str, finder: Finder, reading: Reading) -> Path:
    """Find a picture by its name, or by the name that it had before it was uploaded."""
    try:
        return finder.find(name)
    except FcpError:
        upload = _UPLOAD.fullmatch(name)
        if upload is None:
            raise
        picture = finder.find(upload[2])
    if upload[1].isdigit():
        reading.note(
            f"{finder.file}: {upload[1]}-{upload[2]}",
            f"is not there, and the name without the first number is taken; is {upload[1]} a date?",
        )
    return picture


def _drawn(region: Mapping[str, Any], size: Size, where: str) -> list[tuple[str, Drawn]]:
    kind = _kind(region) or ""
    value = region["value"]
    labels = value[kind]
    if not isinstance(labels, list) or not labels:
        raise FcpError(f"{where}: has no label")
    shape = _form(value) if kind == "labels" else kind
    drawn = read_shape(shape or "", value, size, where)
    return [(str(label), drawn) for label in labels]


# Key in the numbers of a region → its kind, for regions whose labels do not name it. Key points
# have a width too, that of their mark on the screen.
_FORMS = {
    "rle": "brushlabels",
    "points": "polygonlabels",
    "radiusX": "ellipselabels",
    "height": "rectanglelabels",
    "x": "keypointlabels",
}
# Types of results that are no shapes.
_NO_SHAPES = frozenset(
    {"choices", "textarea", "rating", "taxonomy", "number", "datetime", "pairwise", "relation"}
    | {"ranker", "None"}
)
