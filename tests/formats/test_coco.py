"""COCO: what is written loads in the COCO API; what is read agrees with it."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy.ndimage import gaussian_filter

from fcp.data.prompts import Box, annotation_mask
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.coco import read_coco
from fcp.formats.polygons import fill_polygons
from fcp.formats.reading import Reading
from fcp.formats.records import LabelledObject, LabelledPicture
from fcp.formats.run_lengths import to_mask

SIZE = (30, 40)
SQUARE = [4, 4, 12, 4, 12, 14, 4, 14]


def load(file):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(file)


@pytest.fixture
def write_coco(tmp_path, write):
    """Return what writes a JSON of two pictures with these annotations, by class 1 or 9."""

    def write_json(*annotations, **changes):
        for name in ("set/images/a.png", "set/images/b.png"):
            write(name, SIZE)
        complete = [
            {"id": i, "image_id": 7, "category_id": 1, **item}
            for i, item in enumerate(annotations, start=1)
        ]
        images = [
            {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for number, name in ((7, "b.png"), (3, "a.png"), (4, "gone.png"))
        ]
        categories = [{"id": 9, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 5, "name": "bat"}]
        content = {"images": images, "annotations": complete, "categories": categories, **changes}
        return write("set/annotations/instances_default.json", json.dumps(content))

    return write_json


def test_what_is_written_loads_in_the_api(tmp_path, found, classes):
    with FORMATS["coco"](tmp_path / "out", classes) as writer:
        for picture in found:
            writer.add(picture)
    api = load(tmp_path / "out/coco.json")
    assert [item["name"] for item in api.loadCats(api.getCatIds())] == classes
    images = api.loadImgs([1, 2, 3])
    assert [image["file_name"] for image in images] == ["a/å b.png", "b/å b.png", "b/empty.png"]
    for image, picture in zip(images, found, strict=True):
        annotations = api.loadAnns(api.getAnnIds(imgIds=[image["id"]]))
        there = [thing for thing in picture.objects if thing.mask.any()]
        for item, thing in zip(annotations, there, strict=True):
            assert (api.annToMask(item).astype(bool) == thing.mask).all()
            assert item["area"] == thing.mask.sum()
            rows, columns = thing.mask.any(axis=1).nonzero()[0], thing.mask.any(axis=0).nonzero()[0]
            x, y, width, height = item["bbox"]
            assert [x, x + width - 1] == [columns[0], columns[-1]]
            assert [y, y + height - 1] == [rows[0], rows[-1]]
            assert item.get("score") == thing.score
            assert classes[item["category_id"] - 1] == thing.class_name
    assert api.getAnnIds() == [1, 2, 3, 4, 5]


def test_what_is_written_can_be_read(tmp_path, found, classes, masks_of):
    with FORMATS["coco"](tmp_path / "photos", classes) as writer:
        for picture in found:
            writer.add(picture)
    examples = read_coco(tmp_path / "photos/coco.json")
    assert list(examples) == classes[:3]
    for picture in found:
        for name, mask in masks_of(picture).items():
            (example,) = [e for e in examples[name] if e.picture == picture.file]
            assert (example.annotation == mask).all()


def test_shapes_of_every_form(write_coco):
    runs = {"size": list(SIZE), "counts": [30 * 10, 30 * 5, 30 * 25]}
    file = write_coco(
        {"segmentation": [SQUARE, [20.5, 20, 30, 20, 30, 28, 20, 28]]},
        {"segmentation": runs, "iscrowd": 1},
        {"segmentation": [], "bbox": [0, 0, 40, 30]},  # counts only where there is no area
        {"segmentation": [], "bbox": [1, 2, 3, 4], "category_id": 9},
        {"bbox": [10.0, 2, 3, 4], "category_id": 9},
        {"segmentation": [[]], "bbox": [1, 2, 3, 4], "category_id": 9, "image_id": 3},
    )
    examples = read_coco(file)
    assert {name: [e.picture.name for e in examples[name]] for name in examples} == {
        "dog": ["b.png", "a.png"],
        "cat": ["b.png"],
    }
    api = load(file)
    expected = api.annToMask(api.anns[1]) | api.annToMask(api.anns[2])
    assert (examples["cat"][0].annotation == expected).all()
    boxes = [annotation_mask(box, SIZE) for box in (Box(1, 2, 4, 6), Box(10, 2, 13, 6))]
    assert (examples["dog"][0].annotation == boxes[0] | boxes[1]).all()
    assert (examples["dog"][1].annotation == boxes[0]).all()


@pytest.mark.parametrize("second", ["front", " front"])
def test_categories_of_one_name_are_one_class_which_is_said(write_coco, second):
    file = write_coco(
        {"segmentation": [SQUARE]},
        {"segmentation": [SQUARE], "category_id": "2"},
        categories=[
            {"id": 1, "name": "front", "supercategory": "car"},
            {"id": "2", "name": second, "supercategory": "bus"},
            {"id": 3, "name": "Front"},
        ],
    )
    reading = Reading()
    found = {name: len(examples) for name, examples in read_coco(file, reading).items()}
    assert found == {"front": 1}
    assert [(note.file, note.text) for note in reading.notes] == [
        (str(file), "the ids 1 and 2 are both called 'front' and count as one class")
    ]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"segmentation": {"size": list(SIZE), "counts": "no runs"}}, "bad segmentation"),
        ({"segmentation": {"size": list(SIZE), "counts": [3, 4]}}, "bad segmentation"),
        ({"segmentation": {"size": list(SIZE), "counts": [-3, 1203]}}, "bad segmentation"),
        ({"segmentation": {"counts": [3, 4]}}, "run lengths of the size None"),
        ({"segmentation": {"size": [10**9, 10**9], "counts": []}}, "run lengths of the size"),
        ({"segmentation": "MultiPolygon"}, "bad segmentation"),
        ({"segmentation": [SQUARE, [1, 2, 3, 4]]}, "a polygon needs 3 points"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "a list of x and y"),
        ({"segmentation": [["a", "b", 1, 2, 3, 4]]}, "a list of x and y"),
        ({"segmentation": [[1, 2, 1e9, 4, 5, 6]]}, "far outside the picture"),
        ({"segmentation": [[1, 2, float("nan"), 4, 5, 6]]}, "far outside the picture"),
        ({}, "neither a segmentation nor a bbox"),
        ({"bbox": [1, 2]}, "a bbox of x, y, width and height"),
        ({"bbox": [1, 2, float("nan"), 3]}, "far outside the picture"),
        ({"bbox": ["a"]}, "a list of x and y"),
        ({"bbox": [1, 1, 1, 1], "category_id": -5}, "there is no category -5"),
        ({"bbox": [1, 1, 1, 1], "image_id": "8"}, "there is no image '8'"),
    ],
)
def test_annotations_that_cannot_be_painted(write_coco, annotation, message):
    with pytest.raises(FcpError, match=rf"default\.json: .*annotation 1: .*{message}"):
        read_coco(write_coco(annotation))


@pytest.mark.parametrize("bbox", [[1, 1, 0, 3], [1, 1, -1, 3], [41, 1, 3, 3]])
def test_boxes_that_hold_nothing(write_coco, bbox):
    with pytest.raises(FcpError, match=r"default\.json: class 'cat'.*: .*holds no pixel"):
        read_coco(write_coco({"bbox": bbox}))


def test_another_pictures_json(write_coco):
    image = {"id": 7, "file_name": "b.png", "height": 31, "width": 40}
    with pytest.raises(FcpError, match=r"default\.json: made for a picture of 40×31 px"):
        read_coco(write_coco({"segmentation": [SQUARE]}, images=[image]))
    for name, message in (("gone.png", "is not there"), ("../../../c.png", "lies outside")):
        changed = [{**image, "file_name": name}]
        with pytest.raises(FcpError, match=rf"default\.json: its picture .* {message}"):
            read_coco(write_coco({"segmentation": [SQUARE]}, images=changed))


@pytest.mark.parametrize(
    "text",
    ["{}", '{"images": 3}', '{"images": [], "annotations": [3], "categories": []}',
     '{"images": [{"id": []}], "annotations": [], "categories": []}',
     '{"images": [], "annotations": [], "categories": null}'],
)  # fmt: skip
def test_what_is_no_instances_json(write, text):
    with pytest.raises(FcpError, match=r"a\.json: not a COCO instances JSON"):
        read_coco(write("a.json", text))
    with pytest.raises(FcpError, match=r"empty\.json: not valid JSON"):
        read_coco(write("empty.json", ""))


def test_a_large_picture_stays_packed(write_coco):
    """Masks of a whole data set must fit into memory until they are asked for."""
    (example,) = read_coco(write_coco({"segmentation": [SQUARE]}))["cat"]
    assert len(example.drawn["counts"]) < 30
    assert example.annotation.dtype == np.bool_


@pytest.fixture
def awkward(tmp_path):
    """Write one object with a hole, and one of two parts, as polygons."""
    ring, parts = np.zeros((240, 320), bool), np.zeros((240, 320), bool)
    ring[20:140, 20:160], ring[60:100, 60:120] = True, False
    parts[160:220, 20:120] = parts[30:120, 200:300] = True
    objects = (LabelledObject("ring", ring, 0.5), LabelledObject("parts", parts, 0.25))
    with FORMATS["coco-polygons"](tmp_path / "out", ["ring", "parts"]) as writer:
        writer.add(LabelledPicture(tmp_path / "photos/a.png", "a", (240, 320), objects))
    Image.new("RGB", (320, 240)).save(tmp_path / "out" / "a.png")
    return tmp_path / "out/coco-polygons.json", {"ring": ring, "parts": parts}


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_polygons_load_in_the_api(awkward):
    file, masks = awkward
    api = load(file)
    for item, (name, mask) in zip(api.loadAnns(api.getAnnIds()), masks.items(), strict=True):
        assert api.loadCats(item["category_id"])[0]["name"] == name
        (polygon,) = item["segmentation"]  # supervision 0.27 drops all but the first
        assert all(isinstance(number, float) for number in polygon)
        assert iou(api.annToMask(item).astype(bool), mask) >= 0.98
        assert item["area"] == mask.sum()
    assert {name: len(examples) for name, examples in read_coco(file).items()} == {
        "ring": 1,
        "parts": 1,
    }


def test_polygons_load_in_supervision(awkward):
    supervision = pytest.importorskip("supervision")
    file, masks = awkward
    data = supervision.DetectionDataset.from_coco(str(file.parent), str(file), force_masks=True)
    ((_, _, found),) = list(data)
    for mask, class_id in zip(found.mask, found.class_id, strict=True):
        assert iou(mask, masks[data.classes[class_id]]) >= 0.95


def test_polygons_load_in_label_studio(awkward, tmp_path):
    coco = pytest.importorskip("label_studio_sdk.converter.imports.coco")
    file, masks = awkward
    coco.convert_coco_to_ls(str(file), str(tmp_path / "tasks.json"))
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    shapes = [
        one["value"] for one in task["annotations"][0]["result"] if one["type"].startswith("poly")
    ]
    painted = {name: np.zeros((240, 320), bool) for name in masks}
    for shape in shapes:
        points = np.array(shape["points"]) * (3.2, 2.4)
        painted[shape["polygonlabels"][0]] |= to_mask(fill_polygons([points], (240, 320)))
    assert all(iou(painted[name], mask) >= 0.95 for name, mask in masks.items())


def test_polygons_load_in_ultralytics(awkward, tmp_path):
    converter = pytest.importorskip("ultralytics.data.converter")
    file, masks = awkward
    converter.convert_coco(
        str(file.parent), str(tmp_path / "yolo"), use_segments=True, cls91to80=False
    )
    (labels,) = (tmp_path / "yolo/labels").rglob("a.txt")
    for line in labels.read_text().splitlines():
        class_id, *numbers = line.split()
        points = np.array(numbers, float).reshape(-1, 2) * (320, 240)
        mask = to_mask(fill_polygons([points], (240, 320)))
        assert iou(mask, list(masks.values())[int(class_id)]) >= 0.95


@pytest.mark.parametrize(("size", "width", "seed"), [((40, 40), 2, 3), ((200, 200), 8, 4)])
def test_one_polygon_covers_the_blobs_of_an_object(tmp_path, size, width, seed):
    """A mask of several blobs with holes, whose outlines bridges join."""
    noise = gaussian_filter(np.random.default_rng(seed).random((4, *size)), (0, width, width))
    masks = [one > np.quantile(one, 0.6) for one in noise]
    with FORMATS["coco-polygons"](tmp_path, ["blobs"]) as writer:
        for number, mask in enumerate(masks):
            thing = LabelledObject("blobs", mask, None)
            writer.add(LabelledPicture(tmp_path / f"{number}.png", str(number), size, [thing]))
    api = COCO(tmp_path / "coco-polygons.json")
    for mask, annotation in zip(masks, api.loadAnns(api.getAnnIds()), strict=True):
        painted = api.annToMask(annotation) == 1
        assert (mask & painted).sum() / (mask | painted).sum() >= 0.99
