"""A picture that isn't there: its annotation lands on no other one of the same name."""

import json

import numpy as np
import pytest

from fcp.data.prompts import read_support
from fcp.errors import FcpError
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading

SIZE = (30, 40)
BOX = [4, 4, 8, 10]


def coco(names):
    return json.dumps(
        {
            "images": [{"id": at, "file_name": name} for at, name in enumerate(names)],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [
                {"id": at, "image_id": at, "category_id": 1, "bbox": BOX}
                for at, _ in enumerate(names)
            ],
        }
    )


def cvat(names):
    box = '<box label="cat" xtl="4" ytl="4" xbr="12" ybr="14"/>'
    images = (f'<image name="{name}">{box}</image>' for name in names)
    return f"<annotations>{''.join(images)}</annotations>"


def label_studio(names):
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cat"]}
    result = [{"to_name": "image", "value": value}]
    return json.dumps(
        [{"data": {"image": name}, "annotations": [{"result": result}]} for name in names]
    )


FORMATS = {"x.json": coco, "x.xml": cvat, "tasks.json": label_studio}


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["/me/seqA/1.jpg", "/me/seqB/1.jpg"], 0),
        (["https://host/upload/1/1.jpg", "https://host/upload/2/1.jpg"], 0),
        (["1.JPG", "1.jpg"], 1),
        (["C:\\me\\1.JPG", "C:\\me\\1.jpg", "2.jpg"], 1),
        (["/me/1.jpg", "1.jpg", "2.jpg"], 1),
    ],
)
def test_two_names_of_one_picture_are_refused_with_both(write, file, names, kept):
    for name in "12":
        write(f"set/{name}.jpg", SIZE)
    path = write(f"set/{file}", FORMATS[file]([*names, "2.jpg"]))
    with pytest.raises(FcpError) as refused:
        read_examples(path)
    assert all(repr(name) in str(refused.value) for name in names[:2])
    left = read_examples(path, reading=Reading(skip_bad=True))["cat"]
    assert len(left) == kept + 1
    assert left[-1].picture.name == "2.jpg"


@pytest.mark.parametrize("file", FORMATS)
def test_entries_of_one_name_are_one_example(write, file):
    write("set/1.jpg", SIZE)
    reading = Reading()
    path = write(f"set/{file}", FORMATS[file](["1.jpg", "1.jpg", "./1.jpg"]))
    assert len(read_examples(path, reading=reading)["cat"]) == 1
    assert str(path) in reading.files_by_note()["several entries of '1.jpg' count as one"]


def test_each_class_of_one_picture_keeps_what_its_entries_say(write):
    write("set/1.jpg", SIZE)
    boxes = [[4, 4, 8, 10], [20, 4, 8, 10], [30, 20, 4, 5]]
    content = {
        "images": [{"id": at, "file_name": "1.jpg"} for at in range(3)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {"id": at, "image_id": at, "category_id": at // 2, "bbox": box}
            for at, box in enumerate(boxes)
        ],
    }
    found = read_examples(write("set/x.json", json.dumps(content)))
    masks = {
        name: read_support(one.picture, one.annotation)[1] > 0 for name, (one,) in found.items()
    }
    expected = np.zeros((3, *SIZE), bool)
    for mask, (x, y, width, height) in zip(expected, boxes, strict=True):
        mask[y : y + height, x : x + width] = True
    assert np.array_equal(masks["cat"], expected[0] | expected[1])
    assert np.array_equal(masks["dog"], expected[2])


@pytest.mark.parametrize("file", FORMATS)
def test_the_name_whose_folders_fit_keeps_its_picture(write, file):
    write("set/images/seqA/1.jpg", SIZE)
    path = write(f"set/{file}", FORMATS[file](["/me/seqB/1.jpg", "/me/seqA/1.jpg"]))
    with pytest.raises(FcpError, match=r"'/me/seqB/1\.jpg' leads to .*so does '/me/seqA/1\.jpg'"):
        read_examples(path)
    (example,) = read_examples(path, reading=Reading(skip_bad=True))["cat"]
    assert example.picture.parent.name == "seqA"


@pytest.mark.parametrize("file", FORMATS)
def test_a_sequence_that_is_not_there_lands_on_no_other_one(write, file):
    write("set/images/seqA/1.jpg", SIZE)
    path = write(f"set/{file}", FORMATS[file](["seqB/1.jpg"]))
    with pytest.raises(FcpError, match=r"its picture 'seqB/1\.jpg' is not there"):
        read_examples(path)


def voc(picture):
    corners = "".join(f"<{name}>{at}</{name}>" for name, at in zip(CORNERS, BOX, strict=True))
    box = f"<object><name>cat</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation><filename>{picture}</filename>{box}</annotation>"


def labelme(picture):
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[4, 4], [12, 14]]}
    return json.dumps({"imagePath": picture, "shapes": [shape]})


CORNERS = ("xmin", "ymin", "xmax", "ymax")


@pytest.mark.parametrize(("end", "text"), [("xml", voc), ("json", labelme)])
def test_two_files_of_one_picture_are_refused_with_both(write, end, text):
    folder = write("set/a.jpg", SIZE).parent
    write("set/b.jpg", SIZE)
    for name in "ab":
        write(f"set/{name}.{end}", text("a.jpg"))
    with pytest.raises(FcpError, match=rf"'b\.{end}' leads to .*a\.jpg, but so does 'a\.{end}'"):
        read_examples(folder)
    reading = Reading(skip_bad=True)
    (example,) = read_examples(folder, reading=reading)["cat"]
    assert example.sources == (folder / f"a.{end}",)
    assert any("is read as of a.jpg, which it names, not of b.jpg" in n.text for n in reading.notes)
    (folder / f"a.{end}").unlink()
    (example,) = read_examples(folder, reading=Reading())["cat"]
    assert example.picture == folder / "a.jpg"


def test_label_files_that_differ_in_case_are_not_both_of_one_picture(write):
    folder = write("classes.txt", "cat").parent
    write("images/a.jpg", SIZE)
    for name in ("a", "A", "a.jpg"):
        write(f"labels/{name}.txt", "0 0.5 0.5 0.2 0.2")
    if len([*(folder / "labels").iterdir()]) < 3:
        pytest.skip("case is no difference on this disk")
    with pytest.raises(FcpError, match=r"(?s)'A\.txt' leads to .*a\.jpg, but so does 'a\.txt'"):
        read_examples(folder)
    (example,) = read_examples(folder, reading=Reading(skip_bad=True))["cat"]
    assert example.sources == (folder / "labels/a.txt",)


def test_parts_of_a_data_set_that_lead_to_one_picture_are_refused(write):
    folder = write("set/images/1.jpg", SIZE).parent.parent
    write("set/annotations/train.json", coco(["/me/seqA/1.jpg"]))
    write("set/annotations/val.json", coco(["/me/seqB/1.jpg"]))
    with pytest.raises(FcpError, match=r"names of train\.json and of val\.json lead to .*1\.jpg"):
        read_examples(folder)
