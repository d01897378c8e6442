"""The examples of each project on the disk, so that they survive a restart.

``project-7/`` holds ``coco.json`` and ``pictures/``. The file is COCO with the origin of each
example, so that ``fcp segment --support project-7/coco.json`` uses the same pictures and masks.
COCO has no boxes and points in place of masks, so that these stand beside their painted masks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as rle_tools

from fcp.data.coco_json import run_lengths
from fcp.data.images import picture_of
from fcp.data.prompts import Box, Mark, Points
from fcp.errors import FcpError
from fcp.label_studio.examples import Origin, ProjectExample
from fcp.system.documents import load_json
from fcp.system.files import make_folder, write_atomically

FILE = "coco.json"
_log = logging.getLogger(__name__)


class ExampleStore:
    """A folder with the examples of each project.

    Args:
        folder: Folder of the projects; created if missing.

    Raises:
        FcpError: the folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder)

    def place(self, project: int) -> Path:
        """Return the folder of a project."""
        return self.folder / f"project-{project}"

    def load(self, project: int) -> list[ProjectExample]:
        """Return a project's examples, in the order in which they were saved.

        A damaged file is reported in the log, and the result is empty: the annotations can be read
        again.
        """
        file = self.place(project) / FILE
        if not file.is_file():
            return []
        try:
            return _read(load_json(file), file)
        except (FcpError, KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("%s: cannot be used (%s); the annotations are read again", file, error)
            return []

    def save(self, project: int, examples: Sequence[ProjectExample]) -> list[ProjectExample]:
        """Replace a project's examples; concurrent readers get either the old or the new ones.

        Returns:
            The examples with their pictures on the disk.

        Raises:
            FcpError: a file cannot be written; the old examples stay.
        """
        pictures = self.place(project) / "pictures"
        make_folder(pictures)
        saved = [dataclasses.replace(one, picture=_keep(one, pictures)) for one in examples]
        write_atomically(self.place(project) / FILE, _coco(saved).encode())
        used = {one.picture for one in saved}
        for path in pictures.iterdir():
            if path not in used and path.is_file():
                path.unlink(missing_ok=True)
        return saved


def examples_hash(examples: Iterable[ProjectExample], salt: str) -> str:
    """Hash all that predictions depend on: labels, pictures, drawings, and the text ``salt``."""
    digest = hashlib.sha256(salt.encode())
    for one in examples:
        content = one.picture if isinstance(one.picture, bytes) else one.picture.read_bytes()
        marks = json.dumps([_written(mark) for mark in one.marks]).encode()
        parts = (one.label.encode(), hashlib.sha256(content).digest(), one.runs["counts"], marks)
        for part in parts:
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _keep(example: ProjectExample, pictures: Path) -> Path:
    """Write a picture under a name made from its content, and return the file."""
    if isinstance(example.picture, Path):
        return example.picture
    kind = (picture_of(example.picture, "the picture").format or "png").lower()
    suffix = {"jpeg": "jpg", "tiff": "tif", "mpo": "jpg"}.get(kind, kind)
    path = pictures / f"{hashlib.sha256(example.picture).hexdigest()[:32]}.{suffix}"
    if not path.is_file():
        write_atomically(path, example.picture)
    return path


def _coco(examples: Sequence[ProjectExample]) -> str:
    names = list(dict.fromkeys(one.label for one in examples))
    files = list(dict.fromkeys((_name(one), one.size) for one in examples))
    content = {
        "info": {"description": "examples that fcp label-studio has taken"},
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
        "images": [
            {"id": index + 1, "file_name": name, "height": height, "width": width}
            for index, (name, (height, width)) in enumerate(files)
        ],
        "annotations": [
            {
                "id": index + 1,
                "image_id": files.index((_name(one), one.size)) + 1,
                "category_id": names.index(one.label) + 1,
                "segmentation": {"size": one.size, "counts": one.runs["counts"].decode("ascii")},
                "area": int(rle_tools.area(one.runs)),
                "bbox": rle_tools.toBbox(one.runs).tolist(),
                "iscrowd": 0,
                "label_studio": dataclasses.asdict(one.origin),
                "marks": [_written(mark) for mark in one.marks],
            }
            for index, one in enumerate(examples)
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _name(example: ProjectExample) -> str:
    assert isinstance(example.picture, Path)  # noqa: S101  (saved before)
    return f"pictures/{example.picture.name}"


def _read(content: Mapping[str, Any], file: Path) -> list[ProjectExample]:
    names = {item["id"]: str(item["name"]) for item in content["categories"]}
    images = {item["id"]: item for item in content["images"]}
    examples = []
    for item in content["annotations"]:
        image = images[item["image_id"]]
        size = (int(image["height"]), int(image["width"]))
        picture = file.parent / "pictures" / Path(image["file_name"]).name
        if not picture.is_file():
            raise FcpError(f"{picture}: is missing")
        runs = run_lengths(item, size, file)
        counts = runs["counts"].encode("ascii") if isinstance(runs["counts"], str) else b""
        packed = {"size": list(size), "counts": counts or runs["counts"]}
        origin, name = Origin(**item["label_studio"]), names[item["category_id"]]
        marks = tuple(_mark(one) for one in item["marks"])
        examples.append(ProjectExample(name, picture, size, packed, origin, marks))
    return examples


def _written(mark: Mark) -> dict[str, Any]:
    """Return a mark as JSON; ``_mark`` is the inverse."""
    return {"kind": type(mark).__name__, **dataclasses.asdict(mark)}


def _mark(written: Mapping[str, Any]) -> Mark:
    if written["kind"] == Box.__name__:
        return Box(*(float(written[name]) for name in ("x0", "y0", "x1", "y1")))
    return Points(tuple((float(x), float(y)) for x, y in written["points"]))
