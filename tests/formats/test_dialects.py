"""What tools and people really write, each with the mask that it means."""

import base64
import io
import json

import numpy as np
import pytest
from annotated import INSIDE, SIZE, SQUARE, read_masks_of
from PIL import Image

from fcp.data.images import read_mask, voc_palette
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading


def png(values):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def coco(**changes):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}],
        "categories": [{"id": 1, "name": " cat "}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [SQUARE]}],
    }
    return json.dumps(content | changes)


FLAT = [number for point in SQUARE for number in point]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": FLAT}]},
        {"annotations": [{"id": 1, "image_id": "1", "category_id": 1.0, "segmentation": [FLAT]}]},
        {"images": [{"id": "1", "file_name": "photos/A.JPG", "height": "30", "width": 0}]},
        {"images": [{"id": 1, "file_name": "C:\\data\\a.jpg", "height": None}]},
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_coco(tmp_path, write, changes, mark):
    write("a.jpg", SIZE)
    file = write("any.json", mark + coco(**changes).encode())
    assert (read_masks_of(file)["cat"]["a.jpg"] == INSIDE).all()


@pytest.mark.parametrize(("kind", "name"), [("images", "file_name"), ("categories", "name")])
def test_coco_ids_that_are_there_twice(write, kind, name):
    write("a.jpg", SIZE)
    twice = [{"id": 1, name: "a.jpg"}, {"id": "1", name: "b.jpg"}]
    file = write("any.json", coco(**{kind: twice}))
    with pytest.raises(FcpError, match=r"id '1' occurs twice: 'a\.jpg' and 'b\.jpg'; give each"):
        read_examples(file)


@pytest.mark.parametrize("kind", ["rotation", "quadrilateral", "polygon"])
def test_labelme_and_its_cousins(write, kind):
    write("a.jpg", SIZE)
    shapes = [
        {"label": "cat ", "shape_type": kind, "points": SQUARE, "direction": 0, "score": None},
        {"label": "dog", "shape_type": "hexagon", "points": SQUARE},
    ]
    content = {"imagePath": "..\\far\\A.jpg", "shapes": shapes, "checked": True}
    reading = Reading()
    found = read_masks_of(write("a.json", json.dumps(content)), reading)
    assert list(found) == ["cat"]
    assert (found["cat"]["a.jpg"] == INSIDE).all()
    assert "shape 2: unknown shape_type 'hexagon', left out; known:" in str(reading.notes[0])


def test_a_damaged_json_among_labelmes_costs_itself_alone(tmp_path, write):
    write("a.jpg", SIZE)
    shape = {"label": "cat", "points": SQUARE}
    write("b.json", json.dumps({"imagePath": "a.jpg", "shapes": [shape]}))
    write("a.json", '{"shapes": [')
    write("c.json", '{"flags": []}')
    with pytest.raises(FcpError, match=r"(?s)2 faults.*a\.json: not valid.*c\.json: not a LabelMe"):
        read_examples(tmp_path)
    assert (read_masks_of(tmp_path, Reading(skip_bad=True))["cat"]["a.jpg"] == INSIDE).all()


def test_labelme2voc(tmp_path, write):
    write("JPEGImages/a.jpg", SIZE)
    write("SegmentationClass/a.png", png(labels_of(2, 1)))
    write("SegmentationClassNpy/a.npy", "x")
    write("SegmentationClassVisualization/a.jpg", SIZE)
    write("class_names.txt", "_background_\ncat\ndog\n")
    found = read_masks_of(tmp_path)
    assert list(found) == ["cat", "dog"]
    assert (found["dog"]["a.jpg"] == INSIDE).all()


def test_labelme_cuboid(write):
    write("a.jpg", SIZE)
    front, back = SQUARE, [[x + 3, y + 3] for x, y in SQUARE]
    shape = {"label": "cat", "shape_type": "cuboid", "points": [*front, *back]}
    found = read_masks_of(write("a.json", json.dumps({"imagePath": "a.jpg", "shapes": [shape]})))
    assert (found["cat"]["a.jpg"] & INSIDE).sum() == INSIDE.sum()


@pytest.mark.parametrize(
    ("corners", "top", "left"),
    [
        ([[4.0, 5.0], [8.0, 7.0]], 5, 4),
        ([[4.4, 5.3], [8.4, 7.3]], 5, 4),
        ([[3.9999999, 4.9999999], [8.0, 7.0]], 5, 4),
        ([[-2, -1], [2, 1]], -1, -2),
        ([[37, 28], [41, 30]], 28, 37),
    ],
)
def test_labelme_masks_with_fractional_or_clipped_bounds(write, corners, top, left):
    write("a.jpg", SIZE)
    values = np.full((3, 5), 255, np.uint8)
    mask = base64.b64encode(png(values)).decode()
    shape = {"label": "cat", "shape_type": "mask", "points": corners, "mask": mask}
    found = read_masks_of(write("a.json", json.dumps({"imagePath": "a.jpg", "shapes": [shape]})))
    expected = np.zeros(SIZE, bool)
    expected[max(0, top) : top + 3, max(0, left) : left + 5] = True
    assert (found["cat"]["a.jpg"] == expected).all()


BOX = "0 0.2 0.3 0.2 0.33333333"  # INSIDE


@pytest.mark.parametrize(
    ("labels", "picture", "names", "content"),
    [
        ("labels/a.txt", "images/a.jpg", "data.yaml", "names: {'0': cat}"),
        ("labels/A.TXT", "Images/a.jpg", "anything.yaml", "names: [cat]"),
        ("Labels/train/a.txt", "images/train/a.jpg", "classes.txt", "cat"),
        ("obj_train_data/a.txt", "obj_train_data/a.jpg", "obj.names", "cat"),
        ("a.txt", "a.jpg", "classes.txt", "cat"),
        ("train/labels/a.jpg.txt", "train/images/a.jpg", "data.yaml", "names: [cat]"),
    ],
)
def test_yolo(tmp_path, write, labels, picture, names, content):
    write(f"set/{labels}", BOX)
    write(f"set/{picture}", SIZE)
    write(f"set/{names}", content)
    assert (read_masks_of(tmp_path / "set")["cat"]["a.jpg"] == INSIDE).all()


def test_yolo_with_a_confidence_at_the_end(tmp_path, write):
    corners = " ".join(f"{x / 40} {y / 30}" for x, y in SQUARE)
    write("images/a.jpg", SIZE)
    write("labels/a.txt", f"{BOX} 0.9\n0 {corners} 0.25")
    write("classes.txt", "cat")
    reading = Reading()
    assert (read_masks_of(tmp_path, reading)["cat"]["a.jpg"] == INSIDE).all()
    assert "2 lines end with a confidence, which does not count" in str(reading.notes)


def labels_of(*values):
    labels = np.zeros(SIZE, np.uint8)
    labels[INSIDE] = values[0]
    if len(values) > 1:
        labels[20:28, 20:30] = values[1]
    return labels


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_label_maps_that_a_paint_program_saved_as_colours(tmp_path, write, mode):
    labels = labels_of(2, 1)
    colours = Image.fromarray(voc_palette()[labels]).convert(mode)
    if mode == "P":
        colours = Image.fromarray(labels)
    write("images/a.jpg", SIZE)
    write("masks/classes.txt", "background\ncat\ndog")
    colours.save(tmp_path / "masks/a.png")
    assert (read_masks_of(tmp_path)["dog"]["a.jpg"] == INSIDE).all()
    if mode != "P":
        colours.putpixel((0, 0), (1, 2, 3))
        colours.save(tmp_path / "masks/a.png")
        with pytest.raises(FcpError, match=r"1 px have colours that are no class's.*\(1, 2, 3\)"):
            read_examples(tmp_path)


def test_cvats_segmentation_masks(tmp_path, write):
    write("JPEGImages/a.jpg", SIZE)
    write("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:10,20,30::\n")
    values = np.zeros((*SIZE, 3), np.uint8)
    values[INSIDE] = (10, 20, 30)
    write("SegmentationClass/a.png", png(values))
    write("SegmentationObject/a.png", png(values))
    write("ImageSets/Segmentation/default.txt", "a")
    assert (read_masks_of(tmp_path)["cat"]["a.jpg"] == INSIDE).all()


@pytest.mark.parametrize("black", ["bg:0,0,0::\n", "Void:0,0,0::\n", "Unlabeled:0,0,0::\n", ""])
def test_whatever_a_list_of_colours_calls_black(tmp_path, write, black):
    write("JPEGImages/a.jpg", SIZE)
    write("labelmap.txt", f"{black}other:10,20,30::\n")
    values = np.zeros((*SIZE, 3), np.uint8)
    values[INSIDE] = (10, 20, 30)
    write("SegmentationClass/a.png", png(values))
    found = read_masks_of(tmp_path)
    assert list(found) == ["other"]
    assert (found["other"]["a.jpg"] == INSIDE).all()


@pytest.mark.parametrize("zero", ["bg", "_background_", "Unlabeled"])
def test_whatever_a_list_of_values_calls_zero(tmp_path, write, zero):
    write("a.jpg", SIZE)
    write("a_mask.png", png(labels_of(2, 1)))
    write("_classes.csv", f"Pixel Value, Class\n0, {zero}\n1, other\n2, void\n")
    found = read_masks_of(tmp_path)
    assert list(found) == ["other", "void"]
    assert (found["void"]["a.jpg"] == INSIDE).all()


def test_roboflows_masks_and_splits(tmp_path, write):
    for split in ("train", "valid"):
        write(f"{split}/{split}.jpg", SIZE)
        write(f"{split}/{split}_mask.png", png(labels_of(2, 1)))
        write(f"{split}/_classes.csv", "Pixel Value, Class\n0, background\n1, dog\n2, cat\n")
    reading = Reading()
    found = read_masks_of(tmp_path, reading)
    assert list(found) == ["dog", "cat"]
    assert (found["cat"]["train.jpg"] == INSIDE).all()
    assert list(found["cat"]) == ["train.jpg", "valid.jpg"]
    assert "train/, valid/ are read as parts of one data set" in str(reading.notes)


def test_splits_of_one_class(tmp_path, write):
    for split in ("Train", "test"):
        write(f"cats/{split}/images/{split}.jpg", SIZE)
        write(f"cats/{split}/masks/{split}.png", png(labels_of(255)))
    assert list(read_masks_of(tmp_path / "cats")) == ["cats"]
    write("cats/bus/images/a.jpg", SIZE)  # a class of trains, beside one of buses
    write("cats/bus/masks/a.png", png(labels_of(255)))
    assert list(read_masks_of(tmp_path / "cats")) == ["bus", "test", "Train"]


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("a.jpg", "a_Mask.png"),
        ("A.JPG", "a_MASK.PNG"),
        ("a.jpg", "a-mask.tif"),
        ("a.tif", "a_cp_masks.tif"),
        ("a.ome.tif", "a_mask.png"),
        ("a.ome.tif", "a_mask.ome.tif"),
        ("a.ome.tif", "a.ome_mask.tif"),
        ("train/a.jpg", "train_masks/a_mask.gif"),
        ("Images/a.jpg", "masks/a_Simple Segmentation.png"),
        ("images/a.jpg", "masks/a.jpg.png"),
        ("images/a.jpg", "masks/a_mask.png"),
        ("images/train/a.jpg", "masks/train/a.png"),
        ("Images/a.jpg", "Masks/A.bmp"),
        ("images/caf\u00e9.jpg", "masks/cafe\u0301.webp"),
    ],
)
def test_masks_by_other_names(tmp_path, write, picture, mask):
    write(f"set/{picture}", SIZE)
    (tmp_path / "set" / mask).parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(labels_of(255)).save(tmp_path / "set" / mask, lossless=True)
    ((name, of_it),) = read_masks_of(tmp_path / "set")["set"].items()
    assert name.lower() == picture.rsplit("/", 1)[-1].lower()
    assert (of_it == INSIDE).all()


def test_what_systems_leave_is_no_class(tmp_path, write):
    write("cat/a.jpg", SIZE)
    write("cat/a_mask.png", png(labels_of(255)))
    for stray in ("__MACOSX/cat/._a.jpg", "@eaDir/a.jpg", "notes/readme.txt"):
        write(stray, "x")
    (tmp_path / "empty").mkdir()
    reading = Reading()
    assert list(read_masks_of(tmp_path, reading)) == ["cat"]
    told = [str(note) for note in reading.notes]
    assert [text.split("/")[-1] for text in told] == [
        "empty: left out: it holds no example",
        "notes: left out: it holds no example",
    ]


@pytest.mark.parametrize("name", ["cvat", "label-studio", "coco", "labelme"])
def test_what_is_written_is_read_again(tmp_path, found, classes, masks_of, name):
    """Beside its pictures; labelme's polygons lose up to a hundredth."""
    out = tmp_path / "photos"
    with FORMATS[name](out, classes) as writer:
        for picture in found:
            writer.add(picture)
    place = next(
        path
        for path in out.iterdir()
        if path.suffix in (".xml", ".json") or (not path.suffix and path.name == name)
    )
    read = read_examples(place)
    expected = {
        (class_name.strip(), picture.file): mask
        for picture in found
        for class_name, mask in masks_of(picture).items()
    }
    again = {
        (class_name, one.picture.resolve()): read_mask(one.annotation, SIZE)
        for class_name, examples in read.items()
        for one in examples
    }
    assert set(again) == set(expected)
    for key, mask in expected.items():
        assert (again[key] & mask).sum() >= 0.98 * (again[key] | mask).sum()


def cvat(shape):
    return (
        '<?xml version="1.0"?><annotations><image id="0" name="a.jpg" width="40" height="30">'
        f"{shape}</image></annotations>"
    )


@pytest.mark.parametrize(
    "shape",
    [
        '<polygon label="cat" points="4,4;12,4;12,14;4,14"/>',
        '<box label="cat" xtl="4" ytl="4" xbr="12" ybr="14"/>',
        '<box label="cat" xtl="3" ytl="5" xbr="13" ybr="13" rotation="90"/>',
        '<mask label="cat" rle="0, 80" left="4" top="4" width="8" height="10"/>',
    ],
)
def test_cvats_shapes(write, shape):
    write("a.jpg", SIZE)
    assert (read_masks_of(write("a.xml", cvat(shape)))["cat"]["a.jpg"] == INSIDE).all()


def test_cvats_faults_are_named(write):
    write("a.jpg", SIZE)
    shapes = (
        '<skeleton label="x"/><mask label="cat" rle="1, 2" left="0" top="0" width="9" height="9"/>'
    )
    with pytest.raises(
        FcpError, match=r"(?s)2 faults.*shape 1: unknown shape <skel.*shape 2: run len"
    ):
        read_examples(write("a.xml", cvat(shapes)))
    with pytest.raises(FcpError, match=r"a\.xml: holds a DOCTYPE"):
        read_examples(write("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>'))
    with pytest.raises(FcpError, match=r"a\.xml: not valid XML"):
        read_examples(write("a.xml", "<annotations>"))


@pytest.mark.parametrize(
    "value",
    [
        {
            "points": [[10, 40 / 3], [30, 40 / 3], [30, 140 / 3], [10, 140 / 3]],
            "polygonlabels": ["cat"],
        },
        {"x": 10, "y": 40 / 3, "width": 20, "height": 100 / 3, "rectanglelabels": ["cat"]},
    ],
)
def test_label_studios_shapes(write, value):
    write("a.jpg", SIZE)
    region = {"value": value, "to_name": "image", "original_width": 40, "original_height": 30}
    choice = {"value": {"choices": ["good"]}, "to_name": "image"}
    data = {"image": "/data/upload/1/1a2b3c4d-a.jpg", "text": "b"}
    task = {"data": data, "annotations": [{"result": [choice, region]}]}
    file = write("tasks.json", json.dumps([task, {"data": data}]))
    assert (read_masks_of(file)["cat"]["a.jpg"] == INSIDE).all()
