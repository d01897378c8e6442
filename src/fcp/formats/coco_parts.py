"""Several COCO files in a folder, as for training and validation: parts of one data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fcp.errors import FcpError
from fcp.formats.coco import read_coco
from fcp.formats.examples import Example
from fcp.formats.foreign_json import refuse_foreign_json
from fcp.formats.reading import Reading
from fcp.formats.text import load_annotations
from fcp.system.files import plain


def read_coco_parts(
    files: Sequence[Path], place: Path, reading: Reading
) -> dict[str, list[Example]]:
    """Read all files of instances in a folder, and join their examples by the names of categories.

    Files of captions and key points, which COCO puts beside them, are left out with a note.

    Args:
        files: JSON files of the folder.
        place: Path of the folder, for errors.
        reading: Options of the reading, which also collects its notes.

    Returns:
        Category → examples, in the order of the files.

    Raises:
        FcpError: no file of instances, or two whose category ids or pictures clash.
    """
    contents = {file: _instances(file) for file in files}
    parts = {file: content for file, content in contents.items() if content is not None}
    if not parts:
        for file in files:
            refuse_foreign_json(_content(file), file)
        names = ", ".join(file.name for file in files)
        raise FcpError(f"{place}: several JSON files ({names}); give the path of the one meant")
    _refuse_clash(parts, place)
    for file in files:
        if file not in parts:
            reading.note(file, "left out: no COCO file of instances")
    if len(parts) > 1:
        names = ", ".join(file.name for file in parts)
        reading.note(place, f"{names} are read as parts of one data set")
    found: dict[str, list[Example]] = {}
    for file, content in parts.items():
        for name, examples in read_coco(file, reading, content).items():
            found.setdefault(name, []).extend(examples)
    _refuse_shared(found, place)
    return found


def _refuse_shared(found: Mapping[str, Sequence[Example]], place: Path) -> None:
    """Refuse two files of which a name each leads to the same picture."""
    files: dict[Path, tuple[Path, ...]] = {}
    for example in (one for examples in found.values() for one in examples):
        if not isinstance(example.picture, Path):
            continue
        first = files.setdefault(plain(example.picture), example.sources)
        if first != example.sources:
            names = " and of ".join(file.name for file in (*first, *example.sources))
            raise FcpError(
                f"{place}: names of {names} lead to {example.picture}; put the other picture there"
            )


def _instances(file: Path) -> Mapping[str, Any] | None:
    """Return the content of a file of instances; None for another, or a damaged, file."""
    content = _content(file)
    if not isinstance(content, dict):
        return None
    lists = [content.get(name) for name in ("images", "annotations", "categories")]
    if not all(isinstance(one, list) and all(isinstance(i, dict) for i in one) for one in lists):
        return None
    kinds = [*content["categories"], *content["annotations"][:1]]
    return None if any({"keypoints", "segments_info"} & one.keys() for one in kinds) else content


def _content(file: Path) -> object:
    """Return the content of a JSON; None if it is damaged."""
    try:
        return load_annotations(file)
    except FcpError:
        return None


def _refuse_clash(parts: Mapping[Path, Mapping[str, Any]], place: Path) -> None:
    """Refuse files that give an id to two categories, or annotate the same picture."""
    names: dict[str, tuple[Path, str]] = {}
    pictures: dict[str, Path] = {}
    for file, content in parts.items():
        for one in content["categories"]:
            key, name = str(one.get("id")), str(one.get("name")).strip()
            other, known = names.setdefault(key, (file, name))
            if known != name:
                raise FcpError(
                    f"{place}: the category id {key} is {known!r} in {other.name} and {name!r} in "
                    f"{file.name}; give the path of the file meant"
                )
        for one in content["images"]:
            picture = str(one.get("file_name"))
            if pictures.setdefault(picture, file) != file:
                raise FcpError(
                    f"{place}: {pictures[picture].name} and {file.name} both annotate {picture}; "
                    "give the path of the file meant"
                )
