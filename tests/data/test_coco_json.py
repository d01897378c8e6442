"""COCO masks agree with the COCO API, whatever their form; classes are chosen by name."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO

from fcp.data.coco_json import read_instances, unpack_counts
from fcp.data.folder import read_support_folder
from fcp.data.prompts import read_support
from fcp.errors import FcpError

SIZE = (30, 40)


def painted() -> dict:
    """Return an object as compressed run lengths."""
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[20:28, 5:9] = 1
    packed = rle_tools.encode(mask)
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def annotation(number, image, category, shape, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": shape,
        "iscrowd": crowd,
    }


def write_json(folder, **changes):
    """Write two pictures with cats in every form, one with a dog, and a class without objects."""
    polygons = [[2, 2, 12, 2, 12, 12], [20, 20, 30, 20, 30, 28, 20, 28]]
    runs = {"size": list(SIZE), "counts": [30 * 10, 30 * 5, 30 * 25]}
    names = {7: "b.png", 3: "a.png", 5: "gone.png"}
    content = {
        "images": [
            {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for number, name in names.items()
        ],
        "categories": [{"id": i, "name": name} for i, name in ((1, "cat"), (9, "dog"), (4, "bat"))],
        "annotations": [
            annotation(1, 7, 1, polygons),
            annotation(2, 7, 1, runs, crowd=1),
            annotation(3, 3, 1, painted()),
            annotation(4, 3, 9, [[0, 0, 9, 0, 9, 9, 0, 9]]),
        ],
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "instances.json"
    file.write_text(json.dumps(content))
    return file


@pytest.fixture
def json_file(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (SIZE[1], SIZE[0])).save(tmp_path / name)
    return write_json(tmp_path)


def by_the_api(file, class_name):
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(file)
    masks = {}
    for item in api.loadAnns(api.getAnnIds(catIds=api.getCatIds(catNms=[class_name]))):
        name = api.imgs[item["image_id"]]["file_name"]
        masks[name] = masks.get(name, 0) | api.annToMask(item)
    return masks


def test_masks_agree_with_the_api(json_file):
    masks = read_instances(json_file, "cat")
    assert [path.name for path in masks] == ["b.png", "a.png"]
    for name, expected in by_the_api(json_file, "cat").items():
        np.testing.assert_array_equal(masks[json_file.parent / name], expected.astype(bool))


def test_support_folder_takes_the_json_or_its_folder(json_file, capsys):
    for place in (json_file, json_file.parent):
        pairs = read_support_folder(place, "dog")
        assert [pair.image.name for pair in pairs] == ["a.png"]
        assert read_support(pairs[0].image, pairs[0].mask)[1].sum() > 60
    assert capsys.readouterr().out == ""


def test_classes_are_listed_where_they_are_unclear(json_file):
    with pytest.raises(FcpError, match=r"instances\.json: which class is meant\?.*: cat, dog$"):
        read_instances(json_file, None)
    with pytest.raises(FcpError, match=r"no object of the class 'bird'; it has: cat, dog$"):
        read_instances(json_file, "bird")
    with pytest.raises(FcpError, match="no object of the class 'bat'"):
        read_instances(json_file, "bat")


def test_a_single_class_needs_no_name(json_file):
    content = json.loads(json_file.read_text())
    write_json(json_file.parent, annotations=content["annotations"][:3])
    assert len(read_instances(json_file, None)) == 2


def test_pictures_are_found_in_coco_s_own_layout(json_file, tmp_path):
    file = write_json(tmp_path / "coco/annotations").rename(
        tmp_path / "coco/annotations/instances_val2017.json"
    )
    with pytest.raises(
        FcpError, match=r"instances_val2017\.json: its picture 'b\.png' is not there"
    ):
        read_instances(file, "cat")
    (tmp_path / "coco/val2017").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / name).rename(tmp_path / "coco/val2017" / name)
    assert len(read_instances(file, "cat")) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"annotations": {}}, "none with an object"),
        ({"images": [{"id": 7}]}, "not a COCO instances JSON"),
        ({"categories": 3}, "not a COCO instances JSON"),
    ],
)
def test_other_json_files_are_refused(json_file, changes, reason):
    file = write_json(json_file.parent, **changes)
    with pytest.raises(FcpError, match=reason):
        read_instances(file, None if "annotations" in changes else "cat")


@pytest.mark.parametrize(
    "shape",
    [
        [],
        [[1, 2, 3]],
        {"size": [9, 9], "counts": [81]},
        {"counts": 5, "size": [30, 40]},
        4,
        *(
            {"size": [30, 40], "counts": counts}
            for counts in ([3, 4], [-3, 1203], [], "34", "", "no runs", "0" * 20 + "o", "é", "~")
        ),
    ],
)
def test_bad_shapes_name_their_annotation(json_file, shape):
    file = write_json(json_file.parent, annotations=[annotation(77, 7, 1, shape)])
    with pytest.raises(FcpError, match=r"instances\.json: annotation 77:"):
        read_instances(file, "cat")


@given(st.lists(st.integers(0, 2**27), min_size=1, max_size=12))
def test_run_lengths_are_unpacked_as_the_api_packs_them(counts):
    packed = rle_tools.frPyObjects({"size": [1, 1], "counts": counts}, 1, 1)["counts"]
    assert unpack_counts(packed).tolist() == counts
    assert unpack_counts(packed.decode()).tolist() == counts


def test_real_coco_agrees_with_the_api(data_root):
    file = data_root / "COCO/annotations/instances_val2017.json"
    name = sorted(category["name"] for category in json.loads(file.read_text())["categories"])[0]
    expected = by_the_api(file, "person") or by_the_api(file, name)
    masks = read_instances(file, "person")
    assert len(masks) == len(expected)
    for path, mask in masks.items():
        np.testing.assert_array_equal(mask, expected[path.name].astype(bool))
