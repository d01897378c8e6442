"""LabelMe: every type of shape, as LabelMe 5 lays its JSON out; what is written comes back."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import ExifTags, Image
from pycocotools import mask as rle_tools

from fcp.data.prompts import Box, Points, Scribble, annotation_mask
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.labelme import read_labelme
from fcp.formats.reading import Reading

SIZE = (30, 40)
SQUARE = [[4, 4], [12, 4], [12, 14], [4, 14]]


def shape(kind, points, label="cat", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.fixture
def labelme(write):
    """Return what writes a picture and its JSON with these shapes."""

    def write_json(*shapes, name="a", **changes):
        write(f"set/{name}.png", SIZE)
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": list(shapes),
            "imagePath": f"{name}.png",
            "imageData": None,
            "imageHeight": SIZE[0],
            "imageWidth": SIZE[1],
            **changes,
        }
        return write(f"set/{name}.json", json.dumps(content))

    return write_json


def only(file):
    ((example,),) = read_labelme(file).values()
    return example


def test_what_is_written_can_be_read(tmp_path, found, classes, masks_of):
    with FORMATS["labelme"](tmp_path / "photos", classes) as writer:
        for picture in found:
            writer.add(picture)
    examples = read_labelme(tmp_path / "photos/labelme")
    assert list(examples) == [classes[0], classes[1], classes[2]]
    for picture in found:
        for name, mask in masks_of(picture).items():
            (example,) = [e for e in examples[name] if e.picture.samefile(picture.file)]
            assert (example.annotation == mask).all()


def test_what_is_written_obeys_labelmes_loader(tmp_path, found, classes):
    """What LabelMe 5's and 6's own loader checks, and its way to the picture."""
    with FORMATS["labelme"](tmp_path / "out", classes) as writer:
        writer.add(found[0])
    file = tmp_path / f"out/labelme/{found[0].name}.json"
    content = json.loads(file.read_text("utf-8"))
    assert (file.parent / content["imagePath"]).samefile(found[0].file)
    assert (content["imageHeight"], content["imageWidth"]) == SIZE
    assert content["imageData"] is None
    for item in content["shapes"]:
        assert item["label"] in classes
        assert item["shape_type"] == "polygon"
        assert len(item["points"]) > 2
        assert all(len(point) == 2 for point in item["points"])
        assert item["flags"] == {}
        assert item["description"] == ""
        assert item["mask"] is None
    # A frame with its bridge, its island, the part at the border; then things of one part each.
    assert [item["group_id"] for item in content["shapes"]] == [0, 0, 0, None, None, None]
    assert [item.get("score") for item in content["shapes"]] == [0.5, 0.5, 0.5, 0.25, 0.125, None]


def test_the_picture_is_found_from_a_folder_behind_a_link(tmp_path, found, classes):
    """The system follows the link before it goes up."""
    (tmp_path / "other/disk/deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "other/disk/deep")
    with FORMATS["labelme"](tmp_path / "out", classes) as writer:
        writer.add(found[0])
    file = tmp_path / f"out/labelme/{found[0].name}.json"
    assert (file.parent / json.loads(file.read_text("utf-8"))["imagePath"]).samefile(found[0].file)


def test_areas(labelme):
    polygon = rle_tools.decode(
        rle_tools.merge(rle_tools.frPyObjects([np.ravel(SQUARE).tolist()], *SIZE))
    )
    for kind in ("polygon", None, "oriented_rectangle"):
        assert (only(labelme(shape(kind, SQUARE))).annotation == polygon).all()
    small = np.random.default_rng(0).random((4, 6)) > 0.5
    expected = np.zeros(SIZE, bool)
    expected[26:30, 34:40] = small
    mask = shape("mask", [[34, 26], [39, 29]], mask=png(small))
    assert (only(labelme(mask)).annotation == expected).all()
    rows, columns = np.mgrid[0:30, 0:40] + 0.5
    circle = only(labelme(shape("circle", [[10, 12], [13, 16]]))).annotation
    assert (circle == (np.hypot(columns - 10, rows - 12) <= 5)).all()


def test_boxes_lines_and_points(labelme):
    box = annotation_mask(Box(3, 4, 9, 12), SIZE)
    for corners in ([[3, 4], [9, 12]], [[9, 4], [3, 12]], [[3, 4], [9, 4], [9, 12], [3, 12]]):
        assert (only(labelme(shape("rectangle", corners))).annotation == box).all()
    line = annotation_mask(Scribble([(3, 4), (20, 12)]), SIZE)
    for kind in ("line", "linestrip"):
        assert (only(labelme(shape(kind, [[3, 4], [20, 12]]))).annotation == line).all()
    clicks = only(labelme(shape("point", [[3, 4]]), shape("points", [[40, 30], [1, 1]])))
    assert clicks.annotation == Points([(3.0, 4.0), (39.5, 29.5), (1.0, 1.0)])


def test_a_folder_in_natural_order(labelme, tmp_path):
    for name in ("img10", "img2"):
        labelme(shape("polygon", SQUARE), shape("polygon", SQUARE, "ключ"), name=name)
    labelme(name="none")
    examples = read_labelme(tmp_path / "set")
    found = {name: [e.picture.name for e in examples[name]] for name in examples}
    assert found == {"cat": ["img2.png", "img10.png"], "ключ": ["img2.png", "img10.png"]}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (shape("polygon", SQUARE[:2]), "a polygon needs 3 points, got 2"),
        (shape("circle", SQUARE[:1]), "a circle needs 2 points, got 1"),
        (shape("polygon", []), "a list of x and y"),
        (shape("polygon", None), "a list of x and y"),
        (shape("polygon", [[1, 2], [3, float("nan")], [4, 5]]), "far outside"),
        (shape("polygon", [[1, 2], [3, 4], [1e9, 5]]), "far outside"),
        (shape("point", [[-1e30, 2]]), "far outside"),
        (shape("polygon", SQUARE, 3), "expected a label, got 3"),
        ({"points": SQUARE}, "expected a label, got None"),
        (shape("mask", SQUARE), "a mask needs the 2 corners of its box, got 4"),
        (
            shape("mask", [[50, 50], [54, 54]], mask=png(np.ones((5, 5), bool))),
            "is not inside its picture",
        ),
        (shape("mask", [[9, 9], [3, 3]], mask="QQ=="), "not a picture"),
        (shape("mask", [[3, 3], [9, 9]], mask="no base64!"), "not base64"),
        (shape("mask", [[3, 3], [9, 9]], mask=None), "not base64|not a picture"),
        (shape("mask", [[3, 3], [9, 9]], mask="QUJD"), "not a picture"),
        (
            shape("mask", [[3, 3], [9, 9]], mask=png(np.ones((5, 5), bool))),
            "the mask is 5×5 px but its box is 7×7 px",
        ),
    ],
)
def test_bad_shapes_are_named(labelme, bad, message):
    with pytest.raises(FcpError, match=rf"a\.json: shape 2: .*({message})"):
        read_labelme(labelme(shape("polygon", SQUARE), bad))


def test_shapes_that_cover_nothing(labelme):
    for nothing in (
        shape("polygon", [[1, 1], [9, 1], [5, 1]]),
        shape("circle", [[5, 5], [5, 5]]),
        shape("cuboid", [[1, 1], [3, 3], [5, 5], [7, 7]]),
        shape("mask", [[3, 3], [4, 4]], mask=png(np.zeros((2, 2), bool))),
    ):
        with pytest.raises(FcpError, match=r"a\.json: class 'cat': .*covers no pixel"):
            read_labelme(labelme(nothing))
    with pytest.raises(FcpError, match=r"a\.json: class '': a class needs a name"):
        read_labelme(labelme(shape("polygon", SQUARE, "")))


def test_another_pictures_json(labelme):
    with pytest.raises(FcpError, match=r"a\.json: made for a picture of 40×31 px, but its picture"):
        read_labelme(labelme(shape("polygon", SQUARE), imageHeight=31))
    file = labelme(shape("polygon", SQUARE), imageHeight=None, imageWidth=None)
    assert only(file).annotation.any()


def test_pictures_elsewhere_and_inside(labelme, tmp_path):
    for name, message in (("gone.png", "is not there"), ("../../b.png", "lies outside")):
        file = labelme(shape("polygon", SQUARE), imagePath=name)
        with pytest.raises(FcpError, match=rf"a\.json: its picture .*{message}"):
            read_labelme(file)
        inside = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        file = labelme(shape("polygon", SQUARE), imagePath=name, imageData=png(inside))
        assert (only(file).picture == inside).all()
        for data, reason in (("QUJD", "not a picture"), ("A", "not base64")):
            file = labelme(shape("polygon", SQUARE), imagePath=name, imageData=data)
            with pytest.raises(FcpError, match=rf"a\.json: imageData: {reason}"):
                read_labelme(file)


def test_labels_of_no_object_are_left_out_with_a_note(labelme):
    kept = shape("polygon", SQUARE)
    others = [shape("polygon", SQUARE, label) for label in ("__ignore__", "_background_")]
    reading = Reading()
    assert list(read_labelme(labelme(kept, *others), reading)) == ["cat"]
    assert [str(note).rsplit(": ", 2)[-2:] for note in reading.notes] == [
        ["left out", "'__ignore__' stands for no object in LabelMe"],
        ["left out", "'_background_' stands for no object in LabelMe"],
    ]


@pytest.mark.parametrize("size", [SIZE, (40, 40)])
def test_a_turned_photo_inside_the_json(labelme, size):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the left edge as stored is the upper one
    stream = io.BytesIO()
    Image.new("RGB", size[::-1]).save(stream, "JPEG", exif=exif)
    data = base64.b64encode(stream.getvalue()).decode()
    changes = {"imagePath": "gone.png", "imageData": data, "imageHeight": None, "imageWidth": None}
    box = shape("rectangle", [[3, 4], [9, 6]])
    reading = Reading()
    ((example,),) = read_labelme(labelme(box, **changes), reading).values()
    assert example.marks == (Box(3, 4, 9, 6),)
    assert "imageData is shown turned (EXIF orientation 6)" in reading.notes[0].text
    raw = Reading(drawn_on_raw=True)
    ((example,),) = read_labelme(labelme(box, **changes), raw).values()
    assert example.picture.shape[:2] == size[::-1]
    assert example.marks == (Box(size[0] - 6, 3, size[0] - 4, 9),)
    assert raw.notes == []


def test_a_stated_size_tells_what_was_drawn_on_inside_the_json(labelme):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stream = io.BytesIO()
    Image.new("RGB", SIZE[::-1]).save(stream, "JPEG", exif=exif)
    changes = {"imagePath": "gone.png", "imageData": base64.b64encode(stream.getvalue()).decode()}
    box = shape("rectangle", [[3, 4], [9, 6]])
    with pytest.raises(FcpError, match=r"a\.json: made for .* read them with --drawn-on raw"):
        read_labelme(labelme(box, **changes))
    reading = Reading()
    read_labelme(labelme(box, **changes, imageHeight=SIZE[1], imageWidth=SIZE[0]), reading)
    assert reading.notes == []


@pytest.mark.parametrize("text", ["{}", '{"shapes": 3}', '{"shapes": [3]}', "[]", "", "\0"])
def test_what_is_no_labelme_json(write, text):
    with pytest.raises(FcpError, match=r"a\.json: (not a LabelMe|not valid|expected a) JSON"):
        read_labelme(write("a.json", text))
