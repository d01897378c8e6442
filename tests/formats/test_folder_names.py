"""Folders are classes or parts of one data set, by their names and the labels in their files."""

import json

import numpy as np
import pytest
from annotated import SIZE, read_masks_of

from fcp.errors import FcpError
from fcp.formats.folder_names import FolderRead, class_of, classes_of_folders
from fcp.formats.reading import Reading

# Left, top and side of the square of each label.
PLACES = {"wheat": (2, 2, 9), "weed": (14, 3, 7), "cat": (25, 5, 8), "dog": (4, 15, 6)}


def corners(label):
    x, y, side = PLACES[label]
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def inside(label):
    x, y, side = PLACES[label]
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def labelme(picture, labels):
    shapes = [{"label": one, "points": corners(one), "shape_type": "polygon"} for one in labels]
    return {f"{picture}.json": json.dumps({"shapes": shapes, "imagePath": f"{picture}.jpg"})}


def coco(picture, labels):
    content = {
        "images": [{"id": 1, "file_name": f"{picture}.jpg", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": i, "name": one} for i, one in enumerate(labels, 1)],
        "annotations": [
            {
                "id": i,
                "image_id": 1,
                "category_id": i,
                "segmentation": [np.ravel(corners(one)).tolist()],
            }
            for i, one in enumerate(labels, 1)
        ],
    }
    return {"_annotations.coco.json": json.dumps(content)}


def cvat(picture, labels):
    shapes = (
        f'<polygon label="{one}" points="{";".join(f"{x},{y}" for x, y in corners(one))}"/>'
        for one in labels
    )
    return {
        "annotations.xml": f'<annotations><image name="{picture}.jpg">{"".join(shapes)}</image>'
        "</annotations>"
    }


def voc(picture, labels):
    objects = []
    for one in labels:
        (x0, y0), _, (x1, y1), _ = corners(one)
        box = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        objects.append(f"<object><name>{one}</name><bndbox>{box}</bndbox></object>")
    content = f"<filename>{picture}.jpg</filename>{''.join(objects)}"
    return {f"{picture}.xml": f"<annotation>{content}</annotation>"}


def yolo(picture, labels):
    sides = np.array([SIZE[1], SIZE[0]])
    lines = []
    for number, one in enumerate(labels):
        numbers = (np.array(corners(one)) / sides).ravel()
        lines.append(f"{number} {' '.join(map(repr, numbers.tolist()))}\n")
    return {f"{picture}.txt": "".join(lines), "classes.txt": "\n".join(labels)}


@pytest.fixture
def put(tmp_path, write):
    """Return what writes a folder with a picture and the annotations of its labels."""

    def put(folder, *labels, layout=labelme):
        write(f"{folder}/{folder}.jpg", SIZE)
        for name, content in layout(folder, labels).items():
            write(f"{folder}/{name}", content)
        return tmp_path

    return put


def read(folder):
    """Return class → picture → mask, and the notes from the folder's own path on."""
    reading = Reading()
    found = read_masks_of(folder, reading)
    return found, [str(note).removeprefix(str(folder)) for note in reading.notes]


def assert_found(found, expected):
    assert {name: list(pictures) for name, pictures in found.items()} == expected
    for name, pictures in found.items():
        for mask in pictures.values():
            np.testing.assert_array_equal(mask, inside(name))


@pytest.mark.parametrize("layout", [labelme, coco, cvat, voc, yolo])
def test_folders_called_like_no_label_are_parts(put, layout):
    put("monday", "wheat", "weed", layout=layout)
    found, notes = read(put("tuesday", "wheat", "weed", layout=layout))
    both = ["monday.jpg", "tuesday.jpg"]
    assert_found(found, {"wheat": both, "weed": both})
    parts = ": monday/, tuesday/ are read as parts of one data set, not as classes"
    assert notes == [parts]


def test_a_label_alone_and_a_folder_alone(put):
    found, notes = read(put("monday", "wheat"))
    assert_found(found, {"wheat": ["monday.jpg"]})
    assert notes == [": monday/ is read as a part of one data set, not as a class"]
    found, notes = read(put("tuesday", "wheat"))
    assert_found(found, {"wheat": ["monday.jpg", "tuesday.jpg"]})


def test_a_folder_that_nobody_takes_for_a_class_is_no_news(put):
    found, notes = read(put("data", "wheat"))
    assert_found(found, {"wheat": ["data.jpg"]})
    assert notes == []


def test_other_classes_in_a_class_folder_count_and_the_rest_is_said(put):
    put("cat", "cat", "dog", "weed")
    found, notes = read(put("dog", "dog", "cat"))
    assert_found(found, {"cat": ["cat.jpg", "dog.jpg"], "dog": ["cat.jpg", "dog.jpg"]})
    assert notes == ["/cat: left out: 'weed' (1 picture)"]


def test_a_label_beside_class_folders_is_called_like_its_folder(put):
    put("cat", "cat")
    found, notes = read(put("monday", "wheat"))
    assert {name: list(pictures) for name, pictures in found.items()} == {
        "cat": ["cat.jpg"],
        "monday": ["monday.jpg"],
    }
    assert notes == ["/monday: its label 'wheat' is called 'monday', after the folder"]
    with pytest.raises(FcpError, match=r"which of its classes is meant\?.*like one: wheat, weed"):
        read(put("monday", "wheat", "weed"))


def test_labels_called_like_other_folders_keep_their_names(put):
    put("cat", "cat")
    put("dog", "dog")
    found, notes = read(put("both", "cat", "dog"))
    assert_found(found, {"cat": ["both.jpg", "cat.jpg"], "dog": ["both.jpg", "dog.jpg"]})
    assert notes == [
        "/both: holds no 'both': its labels are called like other folders: 'cat', 'dog'"
    ]


def test_masks_state_no_label(tmp_path):
    reading = Reading()
    found = {
        tmp_path / "cat": FolderRead({"cat": ["a"]}, stated=False),
        tmp_path / "monday": FolderRead({"wheat": ["b"], "cat": ["c"]}, stated=True),
    }
    classes = classes_of_folders(tmp_path, found, reading)
    assert classes == {"cat": ["a", "c"], "wheat": ["b"]}
    assert [note.text for note in reading.notes] == [
        "monday/ is read as a part of one data set, not as a class"
    ]
    assert class_of(tmp_path / "Photos") == "object"
    masks = {tmp_path / one: FolderRead({one: [one]}, stated=False) for one in ("cat", "photos")}
    assert classes_of_folders(tmp_path, masks, reading) == {"cat": ["cat"], "photos": ["photos"]}
    assert len(reading.notes) == 1


@pytest.mark.parametrize("label", ["object", "ROI", "1"])
def test_a_lone_label_that_says_nothing_has_its_folders_name(put, monkeypatch, label):
    """Programs want a label for each shape, also where the folders are the classes."""
    monkeypatch.setitem(PLACES, label, PLACES["cat"])
    put("cat", label)
    found, notes = read(put("dog", label))
    assert {name: list(pictures) for name, pictures in found.items()} == {
        "cat": ["cat.jpg"],
        "dog": ["dog.jpg"],
    }
    assert notes == []
