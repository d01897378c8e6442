"""Several COCO files in a folder are parts of one data set, unless they contradict each other."""

import json

import pytest

from fcp.errors import FcpError
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading

SIZE = (30, 40)


def coco(picture, name="cat", **more):
    return {
        "images": [{"id": 1, "file_name": picture, "height": 30, "width": 40}],
        "categories": [{"id": 1, "name": name}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 8, 10]}],
        **more,
    }


@pytest.fixture
def parts(tmp_path, write):
    """Return what writes files of a folder of annotations, and two pictures."""

    def write_parts(**files):
        for split in ("train", "val"):
            write(f"set/{split}2017/{split}.jpg", SIZE)
        for name, content in files.items():
            write(f"set/annotations/{name}.json", json.dumps(content))
        return tmp_path / "set"

    return write_parts


def test_parts_are_joined_and_other_kinds_said(parts):
    people = [{"id": 1, "name": "person", "keypoints": ["nose"]}]
    folder = parts(
        instances_train2017=coco("train.jpg"),
        instances_val2017=coco("val.jpg"),
        captions_val2017={"images": [], "annotations": []},
        person_keypoints_val2017=coco("val.jpg", categories=people),
    )
    reading = Reading()
    found = read_examples(folder, reading=reading)
    assert {name: [one.picture.name for one in some] for name, some in found.items()} == {
        "cat": ["train.jpg", "val.jpg"]
    }
    told = [str(note).rsplit("/", 1)[-1] for note in reading.notes]
    assert told[:2] == [
        "captions_val2017.json: left out: no COCO file of instances",
        "person_keypoints_val2017.json: left out: no COCO file of instances",
    ]
    assert "instances_train2017.json, instances_val2017.json are read as parts" in told[2]


def test_parts_that_contradict_each_other(parts):
    folder = parts(a=coco("train.jpg"), b=coco("val.jpg", "dog"))
    with pytest.raises(FcpError, match=r"category id 1 is 'cat' in a\.json and 'dog' in b\.json"):
        read_examples(folder)
    folder = parts(a=coco("val.jpg"), b=coco("val.jpg"))
    with pytest.raises(FcpError, match=r"a\.json and b\.json both annotate val\.jpg; give the"):
        read_examples(folder)


def test_files_of_another_program(parts):
    folder = parts(a={"asset": {}, "regions": []}, b={"asset": {}, "regions": []})
    with pytest.raises(FcpError, match=r"a\.json: an annotation of VoTT; export it as COCO"):
        read_examples(folder)
