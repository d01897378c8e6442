"""Every layout is recognised by itself, and what is none is told."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.read import UNNAMED, read_examples
from fcp.formats.reading import Reading

SIZE = (30, 40)
SQUARE = [[4, 4], [12, 4], [12, 14], [4, 14]]


@pytest.fixture
def mask_file(tmp_path, write):
    """Return what writes a PNG of one value in its middle."""

    def write_mask(name, value=255):
        values = np.zeros(SIZE, np.uint8)
        values[8:20, 8:30] = value
        write(name, b"")
        Image.fromarray(values).save(tmp_path / name)

    return write_mask


def labelme_json(picture, *labels):
    shapes = [{"label": name, "points": SQUARE, "shape_type": "polygon"} for name in labels]
    return json.dumps({"shapes": shapes, "imagePath": picture})


def coco_json(*names):
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}],
            "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": i, "bbox": [1, 1, 9, 9]}
                for i in range(len(names))
            ],
        }
    )


def names_in(path, class_name=None):
    examples = read_examples(path, class_name)
    return {name: [example.picture.name for example in examples[name]] for name in examples}


def test_masks_of_one_class(tmp_path, write, mask_file):
    write("cats/a.jpg", SIZE)
    mask_file("cats/a_mask.png")
    assert names_in(tmp_path / "cats") == {"cats": ["a.jpg"]}
    write("dogs/images/b.jpg", SIZE)
    mask_file("dogs/masks/b.png")
    assert names_in(tmp_path / "dogs") == {"dogs": ["b.jpg"]}
    assert read_examples(tmp_path / "dogs")["dogs"][0].annotation == tmp_path / "dogs/masks/b.png"
    assert names_in(tmp_path) == {"cats": ["a.jpg"], "dogs": ["b.jpg"]}
    assert names_in(tmp_path, "dogs") == {"dogs": ["b.jpg"]}


def test_the_folder_here_has_a_name(tmp_path, write, mask_file, monkeypatch):
    write("a.jpg", SIZE)
    mask_file("a_mask.png")
    monkeypatch.chdir(tmp_path)
    assert list(read_examples(Path())) == [tmp_path.name]


def test_a_folders_name_that_says_nothing_is_no_class(tmp_path, write, mask_file):
    folder = tmp_path / "Examples"
    write("Examples/a.jpg", SIZE)
    mask_file("Examples/a_mask.png")
    reading = Reading()
    assert list(read_examples(folder, reading=reading)) == [UNNAMED] == ["object"]
    assert [note.text for note in reading.notes] == [
        "the class is called 'object', as no name is given; --class NAME names it"
    ]
    for name, expected in (("cat", "cat"), ("object", "object")):
        named = Reading()
        assert list(read_examples(folder, name, named)) == [expected]
        assert named.notes == []
    folder.rename(tmp_path / "crack")
    assert list(read_examples(tmp_path / "crack")) == ["crack"]


def test_label_maps(tmp_path, write, mask_file):
    write("images/a.jpg", SIZE)
    mask_file("masks/a.png", 1)
    assert names_in(tmp_path) == {tmp_path.name: ["a.jpg"]}
    write("classes.txt", "background\ncat\n")
    assert names_in(tmp_path) == {"cat": ["a.jpg"]}


def test_json_files(tmp_path, write):
    for name in ("coco/a.jpg", "labelme/a.jpg", "labelme/b.jpg", "export/images/a.jpg"):
        write(name, SIZE)
    write("coco/any.json", coco_json("cat", "dog"))
    write("export/annotations/instances_default.json", coco_json("cat"))
    for name in ("a", "b"):
        write(f"labelme/{name}.json", labelme_json(f"{name}.jpg", "cat", "dog"))
    assert names_in(tmp_path / "coco") == {"cat": ["a.jpg"], "dog": ["a.jpg"]}
    assert names_in(tmp_path / "coco/any.json", "dog") == {"dog": ["a.jpg"]}
    assert names_in(tmp_path / "export") == {"cat": ["a.jpg"]}
    assert names_in(tmp_path / "labelme") == {"cat": ["a.jpg", "b.jpg"], "dog": ["a.jpg", "b.jpg"]}
    assert names_in(tmp_path / "labelme/b.json") == {"cat": ["b.jpg"], "dog": ["b.jpg"]}


def test_yolo(tmp_path, write):
    write("images/a.jpg", SIZE)
    write("labels/a.txt", "0 0.5 0.5 0.5 0.5")
    data = write("data.yaml", "names: [cat]")
    write("notes.json", "{}")  # Label Studio adds one
    assert names_in(tmp_path) == names_in(data) == {"cat": ["a.jpg"]}


def test_class_folders_of_any_layout(tmp_path, write, mask_file):
    write("bird/a.jpg", SIZE)
    mask_file("bird/a_mask.png")
    for name in ("cat2", "cat10"):
        write(f"{name}/a.jpg", SIZE)
        write(f"{name}/a.json", labelme_json("a.jpg", "some label"))
    write("dog/a.jpg", SIZE)
    write("dog/coco.json", coco_json("cat", "dog"))
    write(".hidden/a.jpg", SIZE)
    assert list(names_in(tmp_path)) == ["bird", "cat2", "cat10", "dog"]
    write("wolf/a.jpg", SIZE)
    with pytest.raises(FcpError, match=r"wolf: no example found; looked for NAME\.jpg with"):
        read_examples(tmp_path)
    write("wolf/coco.json", coco_json("cat", "dog"))
    with pytest.raises(FcpError, match=r"wolf: which of its classes is meant\?.*: cat, dog"):
        read_examples(tmp_path)


@pytest.mark.parametrize("name", ["png", "yolo"])
def test_what_is_written_beside_its_pictures_is_recognised(
    tmp_path, write, found, classes, masks_of, name
):
    """The other formats name their pictures' paths; these two want them in images/."""
    with FORMATS[name](tmp_path, classes) as writer:
        writer.add(found[1])
    folder = tmp_path if name == "png" else tmp_path / "yolo"
    write(str(folder / "images" / f"{found[1].name}.png"), SIZE)
    ((_, (example,)),) = read_examples(folder).items()
    (mask,) = masks_of(found[1]).values()
    assert (example.annotation == mask).all()


def test_what_is_none(tmp_path, write):
    with pytest.raises(FcpError, match=r"gone: no such file or folder; check the path"):
        read_examples(tmp_path / "gone")
    for nothing in (tmp_path, write("set/a.jpg", SIZE).parent):
        with pytest.raises(FcpError, match=r"no example found; looked for .*COCO.*LabelMe.*YOLO"):
            read_examples(nothing)
    with pytest.raises(FcpError, match=r"a\.jpg: expected a folder of examples, a JSON, an"):
        read_examples(tmp_path / "set/a.jpg")
    with pytest.raises(FcpError, match=r"empty\.json: not valid JSON"):
        read_examples(write("set/empty.json", b""))
    write("set/other.json", "{}")
    write("set/empty.json", "{}")
    with pytest.raises(FcpError, match=r"several JSON files \(empty\.json, other\.json\)"):
        read_examples(tmp_path / "set")


def test_unknown_classes_are_told_the_known_ones(tmp_path, write):
    write("a.jpg", SIZE)
    file = write("any.json", coco_json("cat", "dog"))
    with pytest.raises(FcpError, match=r"no example of the class 'bird'; it has: cat, dog"):
        read_examples(file, "bird")


def test_classes_that_differ_in_case_alone_are_called_into_question(tmp_path, write):
    write("L/a.jpg", SIZE)
    write("L/a.json", labelme_json("a.jpg", "cat", "Cat"))
    reading = Reading()
    assert list(read_examples(tmp_path / "L", None, reading)) == ["cat", "Cat"]
    assert "'cat' and 'Cat' are two classes; are they meant as one?" in reading.files_by_note()
    reading = Reading()
    assert list(read_examples(tmp_path / "L", "Cat", reading)) == ["Cat"]
    assert reading.notes == []


@pytest.mark.parametrize("place", ["L/examples/train/images", "L/train"])
def test_folders_of_a_data_set_name_no_class(tmp_path, write, mask_file, place):
    write(f"{place}/a.jpg", SIZE)
    mask_file(f"{place}/a_mask.png")
    for given in ("L/examples", "L/examples/train", "L/train"):
        if (tmp_path / given).is_dir():
            assert list(read_examples(tmp_path / given)) == [UNNAMED]
