"""Examples as other people lay them out: found under other names, or refused with what to bring."""

import json

import numpy as np
import pytest
from PIL import Image

from fcp.data.images import voc_palette
from fcp.errors import FcpError
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading

SIZE = (60, 80)


@pytest.fixture
def mask():
    marked = np.zeros(SIZE, np.uint8)
    marked[10:40, 20:60] = 1
    return marked


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def save(labels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)
    return path


@pytest.mark.parametrize(
    ("picture", "marked"),
    [
        ("images/a.jpg", "masks/a_seg.png"),
        ("images/a.jpg", "masks/a_label.png"),
        ("images/a_gt.jpg", "masks/a_gt.png"),
        ("images/a.jpg", "labels/a.png"),
        ("imgs/a.jpg", "Annotations/a.png"),
        ("images/train/a.jpg", "ground_truth/train/a.png"),
    ],
)
def test_masks_by_other_names(tmp_path, mask, picture, marked):
    expected = (photo(tmp_path / picture), save(mask, tmp_path / marked))
    ((name, (example,)),) = read_examples(tmp_path).items()
    assert name == tmp_path.name
    assert (example.picture, example.annotation) == expected


def test_annotations_of_another_kind_beside_pictures_are_no_masks(tmp_path):
    photo(tmp_path / "images" / "a.jpg")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 80, "height": 60}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances.json").write_text(json.dumps(content))
    assert list(read_examples(tmp_path)) == ["cat"]


def test_a_list_that_begins_with_a_class_is_called_into_question(tmp_path, mask):
    photo(tmp_path / "images" / "a.jpg")
    save(mask, tmp_path / "masks" / "a.png")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    reading = Reading()
    assert list(read_examples(tmp_path, None, reading)) == ["dog"]
    (note,) = reading.notes
    assert "its first line (cat) is taken for the background's, the value 0" in str(note)
    save(3 * mask, tmp_path / "masks" / "a.png")
    with pytest.raises(FcpError, match="the list of classes has no line 3 for this value"):
        read_examples(tmp_path)
    for name in ("background", "_background_", "Void"):
        (tmp_path / "classes.txt").write_text(f"{name}\ncat\ndog\n")
        save(mask, tmp_path / "masks" / "a.png")
        reading = Reading()
        assert list(read_examples(tmp_path, None, reading)) == ["cat"]
        assert reading.notes == []


@pytest.mark.parametrize("in_colours", [False, True])
def test_a_list_without_background_is_known_by_the_highest_value(tmp_path, mask, in_colours):
    (tmp_path / "masks").mkdir()
    for name, value in (("a", 1), ("b", 2)):
        photo(tmp_path / "images" / f"{name}.jpg")
        labels = voc_palette()[value * mask] if in_colours else value * mask
        save(labels, tmp_path / "masks" / f"{name}.png")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    reading = Reading()
    found = read_examples(tmp_path, None, reading)
    assert {name: one.picture.name for name, (one,) in found.items()} == {
        "cat": "a.jpg",
        "dog": "b.jpg",
    }
    assert [note.text for note in reading.notes] == [
        "no line for the background: its first line names the value 1"
    ]


@pytest.mark.parametrize("value", [1, 255])
def test_a_list_of_one_class_names_it(tmp_path, mask, value):
    photo(tmp_path / "images" / "a.jpg")
    save(value * mask, tmp_path / "masks" / "a.png")
    (tmp_path / "classes.txt").write_text("cat\n")
    ((name, (one,)),) = read_examples(tmp_path).items()
    assert name == "cat"
    assert (np.asarray(one.annotation) == mask).all()


def test_links_that_lead_nowhere_are_counted(tmp_path, mask):
    photo(tmp_path / "images" / "a.jpg")
    save(mask, tmp_path / "masks" / "a.png")
    (tmp_path / "images" / "b.jpg").symlink_to("nowhere.jpg")
    reading = Reading()
    read_examples(tmp_path, None, reading)
    assert [note.text for note in reading.notes] == ["left out: 1 broken link (first b.jpg)"]


def test_equal_notes_are_told_together(tmp_path, mask):
    mask[50:55, 5:15] = 2
    for name in "abc":
        photo(tmp_path / "images" / f"{name}.jpg")
        save(mask, tmp_path / "masks" / f"{name}.png")
    reading = Reading()
    read_examples(tmp_path, None, reading)
    ((text, files),) = reading.files_by_note().items()
    assert "several values" in text
    assert files == [str(tmp_path / "masks" / f"{name}.png") for name in "abc"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "COCO results"),
        ([{"image": "/data/upload/1/a.jpg", "id": 1, "annotator": 1, "label": []}], "JSON-MIN"),
        ({"a.jpg123": {"filename": "a.jpg", "regions": []}}, "VGG Image Annotator"),
        ({"_via_img_metadata": {"a": {"filename": "a.jpg", "regions": []}}}, "VGG Image Annotator"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_name(tmp_path, content, said):
    photo(tmp_path / "a.jpg")
    file = tmp_path / "some.json"
    file.write_text(json.dumps(content))
    for path in (tmp_path, file):
        with pytest.raises(FcpError, match=said) as caught:
            read_examples(path)
        assert str(file) in str(caught.value)


VOC = """<annotation><filename>{name}</filename><size><width>80</width><height>60</height></size>
<object><name>cat</name><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>60</xmax><ymax>40</ymax></bndbox>
</object>{more}</annotation>"""
DOG = """<object><name>dog</name><bndbox><xmin>1</xmin><ymin>{y}</ymin><xmax>8</xmax><ymax>9</ymax>
</bndbox></object>"""


@pytest.mark.parametrize(
    ("pictures", "annotations"),
    [("JPEGImages", "Annotations"), ("images", "annotations"), (".", "."), ("images", "xml")],
)
def test_boxes_of_pascal_voc(tmp_path, mask, pictures, annotations):
    files = []
    for name, more in (("a", ""), ("b", DOG.format(y=3))):
        photo(tmp_path / pictures / f"{name}.jpg")
        file = tmp_path / annotations / f"{name}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(VOC.format(name=f"{name}.jpg", more=more))
        files.append(file)
    found = read_examples(tmp_path if annotations != "xml" else files[1])
    assert list(found) == ["cat", "dog"]
    assert (np.asarray(found["cat"][0].annotation) == mask).all()
    assert np.asarray(found["dog"][0].annotation).sum() == 8 * 7


def test_faults_of_pascal_voc_are_listed(tmp_path):
    for name in "ab":
        photo(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.xml").write_text(VOC.format(name=f"{name}.jpg", more=DOG.format(y="")))
    with pytest.raises(FcpError, match=r"(?s)2 faults.*a\.xml: object 2.*b\.xml: object 2"):
        read_examples(tmp_path)
    (tmp_path / "b.xml").write_text("<annotations/>")
    with pytest.raises(FcpError, match=r"b\.xml: not an XML of PASCAL VOC"):
        read_examples(tmp_path)
