"""COCO instances: one JSON, boxes as (x, y, width, height) in px, masks as run lengths or polygons.

Coordinates are those of pixel edges. Run lengths go down the columns; packed ones are exact, and
read by the COCO API. Programs that read polygons alone are many: these have a polygon for each part
of an object, whose holes are joined to its outline by bridges without area.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from fcp.config import load_json
from fcp.data.coco_json import run_lengths
from fcp.data.images import read_size
from fcp.data.prompts import Box
from fcp.errors import FcpError
from fcp.formats.examples import Drawn, DrawnPicture, Example, examples_by_class
from fcp.formats.places import find_picture, require_stated_size
from fcp.formats.polygons import mask_polygons, read_points
from fcp.formats.records import LabelledObject
from fcp.formats.run_lengths import RunLengths, to_runs
from fcp.formats.writer import OneFileWriter


def read_coco(file: Path) -> dict[str, list[Example]]:
    """Read all categories of an instances JSON, crowds included.

    An annotation without segmentation counts by its box.

    Returns:
        Category → examples; categories in the order of the JSON, pictures likewise.

    Raises:
        FcpError: no instances JSON, a picture that is missing, elsewhere or of another size, an
            annotation of an unknown picture or category, or one that cannot be painted.
    """
    content = load_json(file)
    try:
        names = {item["id"]: item["name"] for item in content["categories"]}
        by_picture = _by_picture(content, names, file)
        images = [image for image in content["images"] if by_picture[image["id"]]]
        pictures = (_picture(image, by_picture[image["id"]], names, file) for image in images)
        return examples_by_class(pictures, names.values())
    except (KeyError, TypeError, AttributeError) as error:
        raise FcpError(f"{file}: not a COCO instances JSON (missing or odd: {error})") from error


class CocoWriter(OneFileWriter):
    """Writes ``coco.json``: ids from 1, packed run lengths, and each object's score.

    ``file_name`` is the picture's path from the innermost folder that holds all pictures.
    """

    file_name = "coco.json"

    def _pack(self, found: LabelledObject) -> dict[str, Any]:
        runs = to_runs(found.mask)
        return {
            "segmentation": self._segmentation(found.mask, runs),
            "area": int(rle_tools.area(runs)),
            "bbox": rle_tools.toBbox(runs).tolist(),
        }

    def _segmentation(self, mask: np.ndarray, runs: RunLengths) -> object:
        """Say a mask (H, W), whose run lengths these are."""
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
    """Writes ``coco-polygons.json``: the same with polygons, for programs that read no run lengths.

    ``area`` and ``bbox`` are those of the mask.
    """

    file_name = "coco-polygons.json"

    def _segmentation(self, mask: np.ndarray, runs: RunLengths) -> object:
        """Say a mask (H, W) as one polygon a part, x and y in turn."""
        return [polygon.round(2).reshape(-1).tolist() for polygon in mask_polygons(mask)]


def _image(number: int, record: Mapping[str, Any]) -> dict[str, Any]:
    height, width = record["size"]
    return {"id": number, "file_name": record["name"], "height": height, "width": width}


def _joined(items: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield the items as JSON, one a line, with commas between."""
    for index, item in enumerate(items):
        yield f"{',' if index else ''}\n{json.dumps(item)}"


def _by_picture(
    content: Mapping[str, Any], names: Mapping[Any, str], file: Path
) -> dict[Any, list[Mapping[str, Any]]]:
    """Sort the annotations by the id of their picture."""
    found: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        where = f"{file}: annotation {annotation.get('id')}"
        if annotation["category_id"] not in names:
            raise FcpError(f"{where}: there is no category {annotation['category_id']!r}")
        if annotation["image_id"] not in found:
            raise FcpError(f"{where}: there is no image {annotation['image_id']!r}")
        found[annotation["image_id"]].append(annotation)
    return found


def _picture(
    image: Mapping[str, Any],
    annotations: list[Mapping[str, Any]],
    names: Mapping[Any, str],
    file: Path,
) -> DrawnPicture:
    picture = find_picture(file, image["file_name"], _folders(file))
    size = read_size(picture)
    require_stated_size(file, (image["height"], image["width"]), size)
    drawings = [(names[item["category_id"]], _drawn(item, size, file)) for item in annotations]
    return DrawnPicture(picture, size, file, drawings)


def _folders(file: Path) -> tuple[Path, ...]:
    """Return where pictures lie: beside the JSON, or where COCO and its tools put them."""
    beside, above = file.parent, file.parent.parent
    split = file.stem.removeprefix("instances_")
    inner = (above / "images", above / split, above / "images" / split)
    return (beside, beside / "images", above, *inner)


def _drawn(annotation: Mapping[str, Any], size: tuple[int, int], file: Path) -> Drawn:
    """Bring an annotation to run lengths, or to its box where it has no segmentation."""
    where = f"{file}: annotation {annotation.get('id')}"
    shape = annotation.get("segmentation")
    if not shape or (isinstance(shape, list) and not any(shape)):
        return _box(annotation.get("bbox"), size, where)
    for polygon in shape if isinstance(shape, list) else []:
        if len(read_points(polygon, size, where)) < 3:
            raise FcpError(f"{where}: a polygon needs 3 points")
    if isinstance(shape, dict) and shape.get("size") != list(size):
        raise FcpError(f"{where}: run lengths of the size {shape.get('size')}, not its picture's")
    return run_lengths(annotation, size, file)


def _box(bbox: object, size: tuple[int, int], where: str) -> Box:
    if bbox is None:
        raise FcpError(f"{where}: neither a segmentation nor a bbox; draw it anew")
    corner = read_points(bbox, size, where)
    if corner.shape != (2, 2):
        raise FcpError(f"{where}: expected a bbox of x, y, width and height")
    (x, y), (width, height) = corner.tolist()
    return Box(x, y, x + width, y + height)
