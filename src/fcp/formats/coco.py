"""COCO instances: one JSON, boxes as (x, y, width, height) in px, masks as run lengths or polygons.

Coordinates are those of pixel edges. Run lengths go down the columns; packed ones are exact and are
read by the COCO API. Many programs read only polygons, and some of them only the first polygon of
an object: for these, one polygon is written for each object, its parts and holes joined by bridges
without area.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from fcp.data.coco_json import run_lengths
from fcp.data.prompts import Box, Points
from fcp.errors import FcpError
from fcp.formats.examples import (
    Drawn,
    DrawnPicture,
    Example,
    examples_by_class,
    inside,
    note_shared_names,
)
from fcp.formats.places import Finder
from fcp.formats.polygons import (
    finer_polygons,
    first_close,
    join_polygons,
    move_inward,
    read_points,
)
from fcp.formats.reading import Reading, frame_of
from fcp.formats.records import LabelledObject
from fcp.formats.run_lengths import RunLengths, to_runs
from fcp.formats.text import load_annotations
from fcp.formats.writer import OneFileWriter

# px by which polygons are moved inward from pixel edges, so that programs that truncate coordinates
# to whole pixels paint no extra row or column.
INWARD = 0.01


def read_coco(
    file: Path,
    reading: Reading | None = None,
    content: Any = None,  # noqa: ANN401
) -> dict[str, list[Example]]:
    """Read all categories of an instances JSON, crowds included.

    An annotation without segmentation counts by its box, and one with neither by its key points.
    Ids may be numbers or text.

    Args:
        file: File of the annotations.
        reading: Options of the reading, which also collects its notes; None for the defaults.
        content: Parsed content of the file, if it has been read already.

    Returns:
        Category → examples; categories and pictures in the order of the JSON.

    Raises:
        FcpError: no instances JSON, an id that occurs twice, or annotations with faults; all faults
            are listed.
    """
    own = reading or Reading()
    content = load_annotations(file) if content is None else content
    try:
        categories = _by_id(content["categories"], "category", file)
        names = {key: str(category["name"]) for key, category in categories.items()}
        note_shared_names(names, own, file)
        images = _by_id(content["images"], "image", file)
        by_picture = _by_picture(content["annotations"], names, images, own, file)
        finder = Finder(file, _folders(file), own)
        pictures = []
        for key, annotations in by_picture.items():
            with own.each():
                pictures.append(_picture(images[key], annotations, names, finder, own))
    except (KeyError, TypeError, AttributeError) as error:
        raise FcpError(
            f"{file}: not a COCO instances JSON (missing or invalid: {error})"
        ) from error
    examples = examples_by_class(pictures, names.values(), own)
    own.finish(file)
    return examples


class CocoWriter(OneFileWriter):
    """Writer of ``coco.json``: ids from 1, packed run lengths, and each object's score.

    ``file_name`` is the picture's path from the innermost folder that holds all pictures.
    """

    file_name = "coco.json"

    def _pack(self, found: LabelledObject) -> dict[str, Any]:
        mask = found.mask
        runs = to_runs(mask)
        return {
            "segmentation": self._segmentation(mask, runs),
            "area": int(rle_tools.area(runs)),
            "bbox": rle_tools.toBbox(runs).tolist(),
        }

    def _segmentation(self, mask: np.ndarray, runs: RunLengths) -> object:
        """Return the segmentation of a mask (H, W), given with its run lengths."""
        return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}

    def _pieces(self) -> Iterator[str]:
        categories = [{"id": i + 1, "name": name} for name, i in self.class_ids.items()]
        yield f'{{"info": {{}}, "categories": {json.dumps(categories)}'
        yield ', "images": ['
        yield from _joined(map(_image, range(1, self._count + 1), self._records()))
        yield '], "annotations": ['
        yield from _joined(self._annotations())
        yield "]}\n"

    def _annotations(self) -> Iterator[dict[str, Any]]:
        number = 0
        for image_id, record in enumerate(self._records(), start=1):
            for packed in record["objects"]:
                number += 1
                score = {} if packed["score"] is None else {"score": packed["score"]}
                yield {
                    "id": number,
                    "image_id": image_id,
                    "category_id": self.class_ids[packed["class"]] + 1,
                    "segmentation": packed["segmentation"],
                    "area": packed["area"],
                    "bbox": packed["bbox"],
                    "iscrowd": 0,
                    **score,
                }


class CocoPolygonsWriter(CocoWriter):
    """Writer of ``coco-polygons.json``: polygons, for programs that read no run lengths.

    ``area`` and ``bbox`` are those of the mask.
    """

    file_name = "coco-polygons.json"

    def _segmentation(self, mask: np.ndarray, runs: RunLengths) -> object:
        """Return a mask (H, W) as one polygon, x and y in turn."""
        # A bridge between slanted edges gains an area when its ends are moved: the polygon is
        # judged as it is written.
        joined = map(join_polygons, finer_polygons(mask))
        (outline,) = first_close(([move_inward(one, INWARD).round(2)] for one in joined), runs)
        return [outline.reshape(-1).tolist()]


def _image(number: int, record: Mapping[str, Any]) -> dict[str, Any]:
    height, width = record["size"]
    return {"id": number, "file_name": record["name"], "height": height, "width": width}


def _joined(items: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield the items as JSON, one a line, with commas between."""
    for index, item in enumerate(items):
        yield f"{',' if index else ''}\n{json.dumps(item)}"


def _by_id(
    items: Iterable[Mapping[str, Any]], kind: str, file: Path
) -> dict[str, Mapping[str, Any]]:
    """Index items by their id as text, since tools write 1 in one place and "1" in another."""
    found: dict[str, Mapping[str, Any]] = {}
    name = "name" if kind == "category" else "file_name"
    for item in items:
        key = _key(item["id"])
        if key in found:
            raise FcpError(
                f"{file}: the {kind} id {item['id']!r} occurs twice: "
                f"{found[key].get(name)!r} and {item.get(name)!r}; give each its own"
            )
        found[key] = item
    return found


def _key(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | str):
        raise TypeError(f"the id {value!r}")
    return str(value).strip()


def _by_picture(
    annotations: Iterable[Mapping[str, Any]],
    names: Mapping[str, str],
    images: Mapping[str, Any],
    reading: Reading,
    file: Path,
) -> dict[str, list[Mapping[str, Any]]]:
    """Sort the annotations by the id of their picture, in the order of the pictures."""
    found: dict[str, list[Mapping[str, Any]]] = {key: [] for key in images}
    for annotation in annotations:
        where = f"{file}: annotation {annotation.get('id')}"
        with reading.each():
            if _key(annotation["category_id"]) not in names:
                raise FcpError(f"{where}: there is no category {annotation['category_id']!r}")
            if _key(annotation["image_id"]) not in found:
                raise FcpError(f"{where}: there is no image {annotation['image_id']!r}")
            found[_key(annotation["image_id"])].append(annotation)
    return {key: several for key, several in found.items() if several}


def _picture(
    image: Mapping[str, Any],
    annotations: list[Mapping[str, Any]],
    names: Mapping[str, str],
    finder: Finder,
    reading: Reading,
) -> DrawnPicture:
    name = image["file_name"] if "file_name" in image else image["coco_url"]  # LVIS
    picture = finder.find(name)
    stated = (image.get("height"), image.get("width"))
    frame = frame_of(picture, finder.file, reading, stated)
    drawings = []
    for item in annotations:
        with reading.each():
            drawn = _drawn(item, frame.size, f"{finder.file}: {picture.name}")
            drawings.append((names[_key(item["category_id"])], drawn))
    return DrawnPicture(picture, frame.size, finder.file, drawings, frame.turn, name)


def _folders(file: Path) -> tuple[Path, ...]:
    """Return the folders of the pictures: beside the JSON, or where COCO and its tools put them."""
    beside, above = file.parent, file.parent.parent
    split = file.stem.removeprefix("instances_")
    inner = (above / "images", above / split, above / "images" / split)
    return (beside, beside / "images", above, *inner)


def _drawn(annotation: Mapping[str, Any], size: tuple[int, int], source: str) -> Drawn:
    """Convert an annotation to run lengths, or to its box where it has no segmentation."""
    where = f"{source}: annotation {annotation.get('id')}"
    shape = annotation.get("segmentation")
    if isinstance(shape, list) and shape and not isinstance(shape[0], list | tuple | dict):
        shape = [shape]  # one polygon, not in a list of its own
    if not shape or (isinstance(shape, list) and not any(shape)):
        if annotation.get("keypoints") and not np.any(annotation.get("bbox") or 0):
            return _key_points(annotation["keypoints"], size, where)
        return _box(annotation.get("bbox"), size, where)
    if isinstance(shape, list):
        polygons = [read_points(polygon, size, where) for polygon in shape]
        if any(len(polygon) < 3 for polygon in polygons):
            raise FcpError(f"{where}: a polygon needs 3 points")
        shape = [polygon.reshape(-1).tolist() for polygon in polygons]
    elif isinstance(shape, dict) and shape.get("size") != list(size):
        raise FcpError(f"{where}: run lengths of the size {shape.get('size')}, not its picture's")
    return run_lengths({**annotation, "segmentation": shape}, size, source)


def _key_points(values: object, size: tuple[int, int], where: str) -> Points:
    """Read x, y and visibility of key points in turn; those of visibility 0 are not labelled."""
    try:
        rows = np.array(values, dtype=np.float64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError) as error:
        raise FcpError(f"{where}: expected x, y and visibility of each key point") from error
    shown = rows[rows[:, 2] > 0, :2]
    if not len(shown):
        raise FcpError(f"{where}: none of its key points is labelled")
    return Points(inside(read_points(shown, size, where).tolist(), size))


def _box(bbox: object, size: tuple[int, int], where: str) -> Box:
    if bbox is None:
        raise FcpError(f"{where}: neither a segmentation nor a bbox; draw it anew")
    corner = read_points(bbox, size, where)
    if corner.shape != (2, 2):
        raise FcpError(f"{where}: expected a bbox of x, y, width and height")
    (x, y), (width, height) = corner.tolist()
    return Box(x, y, x + width, y + height)
