"""YOLO: boxes and polygons in its layouts, read by line; what is written comes back."""

import numpy as np
import pytest
import yaml
from pycocotools import mask as rle_tools

from fcp.data.prompts import Box, annotation_mask
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.reading import Reading
from fcp.formats.yolo import read_yolo

SIZE = (30, 40)
BOX = "0 0.5 0.5 0.25 0.2"  # (15, 12) … (25, 18) px
TRIANGLE = "1 0.1 0.2 0.6 0.2 0.6 0.9"


@pytest.fixture
def yolo(tmp_path, write):
    """Return what writes a data set of one split: its label files and what names the classes."""

    def write_yolo(labels, names="names: [cat, dog]\npath: /elsewhere\ntrain: images\n"):
        for name, text in labels.items():
            write(f"set/labels/{name}.txt", text)
            write(f"set/images/{name}.png", SIZE)
        if names is not None:
            write("set/data.yaml", names)
        return tmp_path / "set"

    return write_yolo


def test_what_is_written_can_be_read(tmp_path, write, found, classes, masks_of):
    with FORMATS["yolo"](tmp_path, classes) as writer:
        for picture in found:
            writer.add(picture)
            write(f"yolo/images/{picture.name}.png", SIZE)
    assert (tmp_path / "yolo/classes.txt").read_text("utf-8").splitlines() == classes
    content = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text("utf-8"))
    assert content == {"train": "images", "val": "images", "names": dict(enumerate(classes))}
    examples = read_yolo(tmp_path / "yolo")
    assert list(examples) == classes[:3]
    for picture in found:
        for name, mask in masks_of(picture).items():
            (example,) = [e for e in examples[name] if e.picture.stem == picture.name]
            assert (example.annotation == mask).all()


def test_one_line_for_each_object(tmp_path, found, classes):
    """A frame, its island and a part at the border are one thing: one line says all of it."""
    with FORMATS["yolo"](tmp_path, classes) as writer:
        writer.add(found[0])
    lines = (tmp_path / "yolo/labels/å b.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "0"]
    points = np.array(lines[0].split()[1:], float).reshape(-1, 2) * [40, 30]
    runs = rle_tools.merge(rle_tools.frPyObjects([points.reshape(-1).tolist()], *SIZE))
    assert (rle_tools.decode(runs) == found[0].objects[0].mask).all()
    assert np.array(lines[0].split()[1:], float).min() >= 0
    assert np.array(lines[0].split()[1:], float).max() <= 1


def test_boxes_and_polygons(yolo):
    folder = yolo({"a10": f"\ufeff{BOX}\n\n{TRIANGLE}\r\n", "a2": TRIANGLE, "none": ""})
    for place in (folder, folder / "data.yaml"):
        examples = read_yolo(place)
        found = {name: [e.picture.name for e in examples[name]] for name in examples}
        assert found == {"cat": ["a10.png"], "dog": ["a2.png", "a10.png"]}
        box = annotation_mask(Box(15, 12, 25, 18), SIZE)
        assert (examples["cat"][0].annotation == box).all()
        triangle = [[4, 6, 24, 6, 24, 27]]
        expected = rle_tools.decode(rle_tools.merge(rle_tools.frPyObjects(triangle, *SIZE)))
        assert (examples["dog"][0].annotation == expected).all()


@pytest.mark.parametrize("layout", ["labels/{}/{}", "{}/labels/{}"])
def test_splits(tmp_path, write, layout):
    for split in ("train", "val"):
        write(layout.format(split, f"{split}.txt"), BOX)
        write(layout.replace("labels", "images").format(split, f"{split}.jpg"), SIZE)
    write("classes.txt", "cat\ndog")
    (examples,) = read_yolo(tmp_path).values()
    assert [example.picture.name for example in examples] == ["train.jpg", "val.jpg"]


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ("names: {0: cat, 1: dog}", ["cat", "dog"]),
        ("names: {5: bird, 1: dog, 0: cat}", ["dog", "cat"]),
        ("names: ['no', 2024]", ["no", "2024"]),
    ],
)
def test_names_of_classes(yolo, names, known):
    assert list(read_yolo(yolo({"a": f"{TRIANGLE}\n{BOX}"}, names))) == known


@pytest.mark.parametrize(
    ("file", "names", "ids"),
    [
        ("data.yaml", "names: [cat, cat]", "0 and 1 are both"),
        ("data.yaml", "names: {1: cat, 0: 'cat ', 7: cat, 8: dog}", "1, 0 and 7 are all"),
        ("classes.txt", "cat\ncat\n\n\n", "0 and 1 are both"),
    ],
)
@pytest.mark.parametrize("is_given", [True, False])
def test_ids_of_one_name_are_one_class_which_is_said(yolo, write, file, names, ids, is_given):
    folder = yolo({"a": f"{TRIANGLE}\n{BOX}", "b": BOX}, None)
    written = write(f"set/{file}", names)
    reading = Reading()
    path = written if is_given and file == "data.yaml" else folder
    assert {name: len(shown) for name, shown in read_yolo(path, reading).items()} == {"cat": 2}
    said = [(note.file, note.text) for note in reading.notes if "called" in note.text]
    assert said == [(str(written), f"the ids {ids} called 'cat' and count as one class")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: [no, yes]", r"data\.yaml: names: 0: False is no id with its class name; put"),
        ("names: {cat: 0}", r"data\.yaml: names: 'cat': 0 is no id"),
        ("names: cat", r"data\.yaml: expected names: a list"),
        ("train: images", r"data\.yaml: expected names: a list"),
        ("names: []", r"data\.yaml: expected names: a list"),
        ("names: [cat\nx", r"data\.yaml: not valid YAML"),
        ("", r"data\.yaml: expected a mapping"),
        ("names: {0: cat, 1: dog, 0: bird}", r"data\.yaml: names: the id 0 occurs twice"),
        ("names:\n  0: cat\n  '0': dog", r"data\.yaml: names: the id 0 occurs twice"),
        ("names: [cat]\nnc: 1\nnames: [dog]", r"data\.yaml: names occurs twice"),
        ("kpt_shape: [17, 3]\nnames: [cat]", r"data\.yaml: a label of key points"),
        (None, r"set: what are the classes of labels/\? Add data\.yaml or classes\.txt"),
    ],
)
def test_names_that_are_none(yolo, names, message):
    with pytest.raises(FcpError, match=message):
        read_yolo(yolo({"a": BOX}, names))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.25", "4 numbers; expected 5"),
        ("0 0.5 0.5 0.25 0.2 7", "6 numbers; expected 5"),
        ("0", "1 numbers; expected 5"),
        ("cat 0.5 0.5 0.25 0.2", "expected numbers alone"),
        ("2 0.5 0.5 0.25 0.2", "unknown class id 2; known: 0 … 1"),
        ("-1 0.5 0.5 0.25 0.2", "unknown class id -1"),
        ("0.5 0.5 0.5 0.25 0.2", "unknown class id 0.5"),
        ("nan 0.5 0.5 0.25 0.2", "unknown class id nan"),
        ("0 nan 0.5 0.25 0.2", "nan is no share"),
        ("0 0.5 inf 0.25 0.2", "inf is no share"),
        ("0 150 120 50 20", "150 is no share"),
        ("0 .47 .23 .19 .29 .47 .23 1 .5 .3 1", r"a label of key points \(YOLO pose\)"),
        ("0 .47 .23 .19 .29 .47 .23 2 .5 .3 1 0 0 0", r"a label of key points \(YOLO pose\)"),
        ("0 0.1 0.1 0.5 0.5 1e99 0.9", "1e99 is no share"),
        ("0 0.5 0.5 0.25 -0.001", "a box without width or height"),
        ("0 0.5 0.5 0 0.1", "a box without width or height"),
    ],
)
def test_bad_lines_are_named(yolo, line, message):
    with pytest.raises(FcpError, match=rf"labels/a\.txt:3: {message}"):
        read_yolo(yolo({"a": f"{BOX}\n\n{line}\n{BOX}"}))


@pytest.mark.parametrize("box", ["0.3 0.3 0.9 0.9", "0.9 0.5 0.3 0.2", "0.5 0.005 0.1 0.04"])
def test_boxes_beyond_the_picture_are_refused(yolo, box):
    with pytest.raises(FcpError, match=r"a\.txt:2: the box reaches from \(.* beyond its picture"):
        read_yolo(yolo({"a": f"{BOX}\n0 {box}"}))


def test_a_box_a_hundredth_beyond_the_picture_is_cut_off(yolo):
    (example,) = read_yolo(yolo({"a": "0 0.04 0.5 0.1 1.01"}))["cat"]
    assert (example.annotation == annotation_mask(Box(0, 0, 3.6, 30), SIZE)).all()


@pytest.mark.parametrize("others", ["", BOX, f"{BOX} 0.9", f"{BOX} 0.9 12"])
def test_boxes_of_an_object_tracker(yolo, others):
    reading = Reading()
    (example,) = read_yolo(yolo({"a": f"1 0.5 0.5 0.25 0.2 0.87 1\n{others}"}), reading)["dog"]
    assert example.marks == (Box(15, 12, 25, 18),)
    assert any(
        "are read as boxes with a confidence and the number" in n.text for n in reading.notes
    )


@pytest.mark.parametrize("triangle", ["0.5 0.5 0.25 0.2 0.87 1", "0.1 0.1 0.9 0.1 0.5 1"])
def test_a_triangle_beside_polygons_or_beyond_any_box_stays_one(yolo, triangle):
    more = "1 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3"
    points = np.array(triangle.split(), float).reshape(-1, 2) * [40, 30]
    expected = rle_tools.decode(
        rle_tools.merge(rle_tools.frPyObjects([points.reshape(-1).tolist()], *SIZE))
    )
    reading = Reading()
    (example,) = read_yolo(yolo({"a": f"0 {triangle}\n{more}"}), reading)["cat"]
    assert (example.annotation == expected).all()
    assert reading.notes == []
    if "0.9" in triangle:
        (example,) = read_yolo(yolo({"a": f"0 {triangle}"}))["cat"]
        assert (example.annotation == expected).all()


def test_polygons_that_cover_nothing(yolo):
    with pytest.raises(FcpError, match=r"a\.txt: class 'dog': what is drawn covers no pixel"):
        read_yolo(yolo({"a": "1 0.1 0.1 0.9 0.1 0.5 0.1"}))


@pytest.mark.parametrize("stem", ["classes", "labels", "class_names", "Classes"])
def test_a_photo_may_be_called_as_a_list_of_classes(tmp_path, write, yolo, stem):
    folder = yolo({stem: f"\n{BOX}\n{TRIANGLE}", "b": TRIANGLE})
    found = {name: len(shown) for name, shown in read_yolo(folder).items()}
    assert found == {"cat": 1, "dog": 2}
    (folder / "data.yaml").unlink()
    write("set/obj.names", "cat\ndog")
    assert {name: len(shown) for name, shown in read_yolo(folder).items()} == found


@pytest.mark.parametrize("names", ["cat\ndog\n", "1\n2\n", "0.5 0.5 big 1 2\nx\n", ""])
def test_a_list_of_classes_among_the_labels_is_no_label_file(yolo, write, names):
    folder = yolo({"a": BOX})
    write("set/labels/classes.txt", names)
    assert [len(shown) for shown in read_yolo(folder).values()] == [1]


def test_pictures_that_are_missing(yolo, write):
    folder = yolo({"a": BOX})
    write("set/labels/b.txt", BOX)
    with pytest.raises(FcpError, match=r"b\.txt: its picture is not there; expected .*images/b"):
        read_yolo(folder)
    write("set/labels/b.txt", b"\xff\xfe")
    write("set/images/b.png", b"")
    with pytest.raises(FcpError, match=r"b\.png"):
        read_yolo(folder)
    write("set/images/b.png", SIZE)
    with pytest.raises(FcpError, match=r"b\.txt: not UTF-8 text"):
        read_yolo(folder)
