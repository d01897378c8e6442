"""Small valid annotations of every format, and how they are read: what ``fuzz.py`` damages."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fcp.data.images import read_mask, read_size
from fcp.formats import FORMATS
from fcp.formats.read import read_examples
from fcp.formats.records import LabelledObject, LabelledPicture

SIZE = (24, 32)
CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Reader:
    """One reader with what it reads.

    Attributes:
        kind: Of the files that are damaged, a key of ``fuzz_mutations.MUTATIONS``.
        make: Writes valid input into an empty folder; returns the files to damage.
        read: Reads the folder as the program does.
        memory: Bytes by which it may grow.
    """

    kind: str
    make: Callable[[Path], Sequence[Path]]
    read: Callable[[Path], object]
    memory: int = 1 << 30


def pixels(*shape: int) -> np.ndarray:
    """Return noise of ``SIZE``, and of so many bands: uint8."""
    return np.random.default_rng(0).integers(0, 256, (*SIZE, *shape), dtype=np.uint8)


def ring() -> np.ndarray:
    """Return a mask with a hole: ``SIZE``, bool."""
    mask = np.zeros(SIZE, bool)
    mask[4:14, 5:20] = True
    mask[7:10, 8:12] = False
    return mask


def png(values: np.ndarray) -> bytes:
    """Encode values as a PNG."""
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def _picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels(3)))
    return path


def write(path: Path, content: object) -> Path:
    """Write text, or anything else as JSON; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def _as(name: str, file: str) -> Callable[[Path], Sequence[Path]]:
    """Return what writes one picture in one of our own formats."""

    def make(folder: Path) -> Sequence[Path]:
        picture = _picture(folder / "a.png")
        objects = tuple(LabelledObject(one, ring(), 0.5) for one in CLASSES)
        with FORMATS[name](folder, CLASSES) as writer:
            writer.add(LabelledPicture(picture, "a", SIZE, objects))
        return [folder / file]

    return make


def _coco(folder: Path) -> Sequence[Path]:
    _picture(folder / "a.png")
    square = [4, 4, 12, 4, 12, 14, 4, 14]
    total = SIZE[0] * SIZE[1]
    shapes = [
        {"segmentation": [square], "iscrowd": 0},
        {"segmentation": square},
        {"segmentation": {"size": list(SIZE), "counts": [100, 50, total - 150]}, "iscrowd": 1},
        {"bbox": [3, 4, 10, 8]},
    ]
    annotations = [
        {"id": i, "image_id": 7, "category_id": 1 + i % 2, "area": 9, **shape}
        for i, shape in enumerate(shapes)
    ]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    return [write(folder / "instances.json", content)]


def _labelme(folder: Path) -> Sequence[Path]:
    _picture(folder / "a.png")
    corners = [[4, 4], [20, 5], [18, 15], [6, 16]]
    shapes = {
        "polygon": corners,
        "cuboid": [*corners, [7, 7], [15, 8]],
        "circle": [[10, 10], [14, 10]],
        "rectangle": corners[::2],
        "linestrip": corners,
        "points": corners,
        "rotation": corners,
    }
    items = [
        {"label": f"c{kind}", "points": points, "shape_type": kind, "group_id": None}
        for kind, points in shapes.items()
    ]
    packed = base64.b64encode(png(np.full((5, 6), 255, np.uint8))).decode()
    items.append({"label": "m", "points": [[3, 4], [8, 8]], "shape_type": "mask", "mask": packed})
    content = {
        "version": "5.5.0",
        "shapes": items,
        "imagePath": "a.png",
        "imageData": base64.b64encode(png(pixels(3))).decode(),
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }
    inner = {**content, "imagePath": "gone.png"}
    return [write(folder / "a.json", content), write(folder / "b.json", inner)]


def _cvat(folder: Path) -> Sequence[Path]:
    _picture(folder / "a.png")
    shapes = (
        '<polygon label="a" points="4.0,4.0;12.5,5.0;10.0,14.0" z_order="0"/>'
        '<box label="b" xtl="3.0" ytl="4.0" xbr="12.0" ybr="14.0" rotation="30.0"/>'
        '<ellipse label="c" cx="10.0" cy="10.0" rx="4.0" ry="3.0" rotation="45.0"/>'
        '<mask label="d" rle="3, 5, 4" left="2" top="3" width="4" height="3"/>'
        '<polyline label="e" points="4.0,4.0;12.5,5.0"/><points label="f" points="4.0,4.0"/>'
    )
    image = f'<image id="0" name="a.png" width="{SIZE[1]}" height="{SIZE[0]}">{shapes}</image>'
    return [write(folder / "a.xml", f"<annotations><version>1.1</version>{image}</annotations>")]


def _pascal_voc(folder: Path) -> Sequence[Path]:
    _picture(folder / "a.png")
    size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size>"
    corners = "<xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>14</ymax>"
    found = f"<object><name>a</name><bndbox>{corners}</bndbox></object>"
    content = f"<annotation><filename>a.png</filename>{size}{found}</annotation>"
    return [write(folder / "a.xml", content)]


def _label_studio(folder: Path) -> Sequence[Path]:
    files = _as("label-studio", "label-studio.json")(folder)
    (task,) = json.loads(files[0].read_text())
    values = [
        {"points": [[10, 10], [50, 12], [40, 60]], "polygonlabels": ["cat"]},
        {"x": 10, "y": 10, "width": 30, "height": 20, "rotation": 20, "rectanglelabels": ["dog"]},
        {"x": 50, "y": 50, "radiusX": 9, "radiusY": 7, "rotation": 9, "ellipselabels": ["elk"]},
        {"x": 50, "y": 50, "width": 1, "keypointlabels": ["fox"]},
        task["predictions"][0]["result"][0]["value"],
    ]
    regions = [
        {"to_name": "image", "original_width": SIZE[1], "original_height": SIZE[0], "value": one}
        for one in values
    ]
    done = {"data": task["data"], "annotations": [{"was_cancelled": False, "result": regions}]}
    files[0].unlink()
    return [write(folder / "tasks.json", [done, task])]


def _yolo(*damaged: str) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        _picture(folder / "images/a.png")
        lines = "0 0.5 0.5 0.4 0.4\n1 0.1 0.1 0.5 0.1 0.4 0.6\n0 0.5 0.5 0.4 0.4 0.9\n"
        write(folder / "labels/a.txt", lines)
        write(folder / "data.yaml", "train: images\nnc: 2\nnames:\n  0: cat\n  '1': dog\n")
        return [folder / one for one in damaged]

    return make


def _label_maps(list_name: str, text: str, *damaged: str) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        _picture(folder / "images/a.png")
        labels = np.zeros(SIZE, np.uint8)
        labels[3:9, 4:9], labels[12:20, 4:20] = 1, 2
        colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)[labels]
        (folder / "masks").mkdir()
        is_colour = list_name == "labelmap.txt"
        (folder / "masks/a.png").write_bytes(png(colours if is_colour else labels))
        write(folder / list_name, text)
        return [folder / one for one in damaged]

    return make


def _use_examples(folder: Path) -> None:
    """Read examples and unpack each mask, as fitting does."""
    for examples in read_examples(folder).values():
        for one in examples:
            size = read_size(one.picture) if isinstance(one.picture, Path) else None
            if isinstance(one.annotation, Path) and size is not None:
                read_mask(one.annotation, size)


CSV = "Pixel Value, Class\n0, background\n1, cat\n2, dog\n"
COLOURS = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"

ANNOTATIONS: dict[str, Reader] = {
    "coco": Reader("json", _coco, _use_examples),
    "coco-ours": Reader("json", _as("coco", "coco.json"), _use_examples),
    "coco-polygons": Reader("json", _as("coco-polygons", "coco-polygons.json"), _use_examples),
    "labelme": Reader("json", _labelme, _use_examples),
    "label-studio": Reader("json", _label_studio, _use_examples),
    "pascal-voc": Reader("text", _pascal_voc, _use_examples),
    "cvat": Reader("text", _cvat, _use_examples),
    "cvat-ours": Reader("text", _as("cvat", "cvat.xml"), _use_examples),
    "yolo-labels": Reader("text", _yolo("labels/a.txt"), _use_examples),
    "yolo-yaml": Reader("yaml", _yolo("data.yaml"), _use_examples),
    "classes.txt": Reader(
        "text", _label_maps("classes.txt", "background\ncat\ndog\n", "classes.txt"), _use_examples
    ),
    "_classes.csv": Reader("text", _label_maps("_classes.csv", CSV, "_classes.csv"), _use_examples),
    "labelmap.txt": Reader(
        "text", _label_maps("labelmap.txt", COLOURS, "labelmap.txt"), _use_examples
    ),
    "label-maps": Reader("png", _label_maps("_classes.csv", CSV, "masks/a.png"), _use_examples),
    "colour-maps": Reader(
        "png", _label_maps("labelmap.txt", COLOURS, "masks/a.png"), _use_examples
    ),
}
