"""COCO-20i against the COCO API's own masks, from an index on disk and in memory."""

import contextlib
import io
import json
import sqlite3

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO

from fcp.data import coco, coco_index
from fcp.data.coco import Coco
from fcp.data.coco_index import build_coco, split_of
from fcp.data.lists import train_lists, val_lists
from fcp.errors import FcpError

SIZE = (60, 80)
# Class 1 is COCO's category 3, class 2 its 6, …: ids with gaps, as COCO's own.
CATEGORIES = [{"id": 3 * n, "name": f"thing {n}"} for n in range(80, 0, -1)]


def packed():
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[10:30, 50:70] = 1
    runs = rle_tools.encode(mask)
    return {"size": runs["size"], "counts": runs["counts"].decode()}


def instances(first, count, prefix):
    """Return a JSON: each picture shows class 1 twice, once as a crowd; odd ones class 5 too."""
    images = [
        {"id": n, "file_name": f"{prefix}_{n:06}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for n in range(first, first + count)
    ]
    crowd = {"size": list(SIZE), "counts": [60 * 30, 60 * 20 + 7, 60 * 30 - 7]}
    annotations = []
    for image in images:
        shapes = [(3, [[2, 2, 62, 2, 62, 50, 2, 50]], 0), (3, crowd, 1)]
        if image["id"] % 2:
            shapes += [(15, packed(), 0), (15, [[0, 0, 9, 0, 9, 9], [20, 20, 30, 20, 30, 30]], 0)]
        annotations += [
            {
                "id": 100 * image["id"] + number,
                "image_id": image["id"],
                "category_id": category,
                "segmentation": shape,
                "iscrowd": is_crowd,
            }
            for number, (category, shape, is_crowd) in enumerate(shapes)
        ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


@pytest.fixture
def root(tmp_path):
    """Return a data root with three train and four val pictures of the 2014 layout."""
    for split, first, count in (("train2014", 1, 3), ("val2014", 10, 4)):
        content = instances(first, count, f"COCO_{split}")
        (tmp_path / "COCO" / split).mkdir(parents=True)
        (tmp_path / "COCO/annotations").mkdir(exist_ok=True)
        for image in content["images"]:
            Image.new("RGB", SIZE[::-1]).save(tmp_path / "COCO" / split / image["file_name"])
        file = tmp_path / f"COCO/annotations/instances_{split}.json"
        file.write_text(json.dumps(content))
    return tmp_path


def annotations_of(root):
    return sorted((root / "COCO/annotations").iterdir())


def build(root, images=None, out=None):
    quiet = {"say": lambda _: None, "progress": lambda *_: None}
    return build_coco(images or root / "COCO", annotations_of(root), out or root, **quiet)


def api_masks(file):
    """Return (picture's stem, class id) → mask, as the COCO API paints its union."""
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(str(file))
    order = {category: n for n, category in enumerate(sorted(api.cats), start=1)}
    masks = {}
    for found in api.anns.values():
        stem = api.imgs[found["image_id"]]["file_name"].removesuffix(".jpg")
        key = (stem, order[found["category_id"]])
        masks[key] = masks.get(key, False) | api.annToMask(found).astype(bool)
    return masks


@pytest.mark.parametrize("indexed", [True, False])
def test_masks_and_areas_are_the_apis(root, indexed):
    if indexed:
        assert build(root) == coco_index.Built(7, ())
    data = Coco(root)
    for split, file in zip(("train", "val"), annotations_of(root), strict=True):
        expected = api_masks(file)
        assert data.ids(split) == tuple(sorted({stem for stem, _ in expected}))
        for (stem, class_id), mask in expected.items():
            np.testing.assert_array_equal(data.class_mask(stem, class_id), mask)
            assert data.areas(split)[stem][class_id] == mask.sum() == data.pixels(stem)[class_id]
            assert data.image(stem).shape == (*mask.shape, 3)
    assert not data.class_mask("COCO_val2014_000010", 77).any()
    assert data.ignored("COCO_val2014_000010").shape == SIZE
    assert data.pool == "instances_train2014.json"


def test_folds_and_lists(root):
    data = Coco(root)
    assert [data.novel(fold)[:2] for fold in range(4)] == [(1, 5), (2, 6), (3, 7), (4, 8)]
    assert data.novel(3)[-1] == 80
    assert set(data.novel(2)) | set(data.base(2)) == set(range(1, 81))
    assert data.classes[5] == "thing 5"
    lists = val_lists(data, 0)
    assert lists.members[1] == lists.rows == data.ids("val")
    assert lists.members[5] == ()  # fewer than 2,048 px
    assert lists.present[lists.rows[1]] == (1, 5)
    assert train_lists(data, 0).rows == ()
    assert len(train_lists(data, 1).rows) == 3
    with pytest.raises(FcpError, match=r"fold: expected 0 … 3, got 4"):
        data.novel(4)


def test_the_index_moves_with_the_pictures(root, tmp_path_factory):
    build(root)
    moved = tmp_path_factory.mktemp("moved")
    (root / "COCO").rename(moved / "COCO")
    data = Coco(moved)
    assert data.image_path("COCO_val2014_000010").parent == moved / "COCO/val2014"
    assert data.image("COCO_val2014_000010").any() == 0


def test_a_photo_of_another_size_is_named(root):
    Image.new("RGB", (9, 7)).save(root / "COCO/val2014/COCO_val2014_000010.jpg")
    with pytest.raises(FcpError, match=r"000010\.jpg: not of the 80×60 px that the JSON says"):
        Coco(root).image("COCO_val2014_000010")


def test_pictures_elsewhere_are_found(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    build(root, out=out)
    assert Coco(out).image("COCO_train2014_000001").shape == (*SIZE, 3)


def test_pictures_and_images_that_are_missing_are_named_until_they_come(root):
    gone = root / "COCO/val2014/COCO_val2014_000011.jpg"
    content = gone.read_bytes()
    gone.unlink()
    file = annotations_of(root)[0]
    stray = json.loads(file.read_text())
    stray["annotations"].append({**stray["annotations"][0], "image_id": 999})
    file.write_text(json.dumps(stray))
    built = build(root)
    assert built.pictures == 6
    assert len(built.problems) == 2
    assert "picture 999 of 1 annotations is not among its images" in built.problems[0]
    assert "COCO_val2014_000011.jpg: no such picture" in built.problems[1]
    assert Coco(root).left_out() == built.problems
    gone.write_bytes(content)
    assert build(root).pictures == 7
    assert "COCO_val2014_000011" in _fresh(root).ids("val")


def test_without_any_picture_the_index_stays_as_it_is(root, tmp_path_factory):
    build(root)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.raises(FcpError, match=r"none of the 3 pictures of .*train2014\.json is there"):
        build(root, images=elsewhere)
    with pytest.raises(FcpError, match=r"gone: no such folder; .* as --images"):
        build(root, images=elsewhere / "gone")
    assert len(_fresh(root).ids("val")) == 4
    with pytest.raises(FcpError, match="none of the 3 pictures"):
        build(root, images=elsewhere, out=elsewhere)
    with pytest.raises(FcpError, match="not finished"):
        Coco(elsewhere)


def test_a_picture_outside_the_root_is_named(root, tmp_path_factory):
    file, elsewhere = annotations_of(root)[0], tmp_path_factory.mktemp("elsewhere")
    content = json.loads(file.read_text())
    name = content["images"][0]["file_name"]
    (root / "COCO/train2014" / name).rename(elsewhere / name)
    content["images"][0]["file_name"] = str(elsewhere / name)
    file.write_text(json.dumps(content))
    with pytest.raises(FcpError, match=rf"{file}: its picture {elsewhere / name} lies outside"):
        build(root)


def test_a_folder_in_a_file_name_is_a_part_of_its_path(root):
    file = annotations_of(root)[1]
    content = json.loads(file.read_text())
    (root / "COCO/val2014/part").mkdir()
    for image in content["images"][:2]:
        image["file_name"] = f"part/{image['file_name']}"
    first = content["images"][0]["file_name"]
    (root / "COCO/val2014/COCO_val2014_000010.jpg").rename(root / "COCO/val2014" / first)
    file.write_text(json.dumps(content))
    built = build(root)
    assert len(built.problems) == 1
    assert "val2014/part/COCO_val2014_000011.jpg: no such picture" in built.problems[0]
    assert Coco(root).image("COCO_val2014_000010").shape == (*SIZE, 3)


def test_a_place_that_cannot_be_opened_is_one_line(root):
    (root / "COCO/coco20i.sqlite").mkdir()
    with pytest.raises(FcpError, match=r"sqlite: unable to open .* make its place .* written"):
        build(root)


def test_an_object_that_cannot_be_painted_leaves_its_picture_out(root):
    file = annotations_of(root)[1]
    odd = json.loads(file.read_text())
    odd["annotations"][0]["segmentation"] = {"size": [3, 3], "counts": [9]}
    file.write_text(json.dumps(odd))
    built = build(root)
    assert built.pictures == 6
    assert "not of its picture's size; COCO_val2014_000010.jpg is left out" in built.problems[0]


def test_a_killed_build_goes_on_and_is_no_data_set_before(root, monkeypatch):
    monkeypatch.setattr(coco_index, "_CHUNK", 2)
    calls = []

    def stop(*call):
        calls.append(call)
        if len(calls) == 3:  # in the midst of val
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_coco(root / "COCO", annotations_of(root), root, say=lambda _: None, progress=stop)
    with pytest.raises(FcpError, match="not finished; run fcp data coco again"):
        Coco(root)
    painted = []
    true_insert = coco_index.insert_picture
    monkeypatch.setattr(
        coco_index, "insert_picture", lambda *a: painted.append(a[2]["id"]) or true_insert(*a)
    )
    assert build(root).pictures == 7
    assert painted == [12, 13]
    assert build(root).pictures == 7
    assert painted == [12, 13]


def test_another_json_replaces_its_split(root):
    build(root)
    file = annotations_of(root)[1]
    content = json.loads(file.read_text())
    content["images"] = content["images"][:1]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] == 10]
    file.write_text(json.dumps(content))
    assert build(root).pictures == 4


def test_a_full_disk_is_one_line_and_loses_nothing(root, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(coco_index, "insert_picture", full)
    with pytest.raises(FcpError, match=r"coco20i\.sqlite: database or disk is full; make room"):
        build(root)
    monkeypatch.undo()
    assert build(root).pictures == 7


def test_what_cannot_be_opened_says_what_to_run(root, tmp_path_factory, monkeypatch):
    with pytest.raises(FcpError, match=r"neither coco20i\.sqlite nor annotations"):
        Coco(tmp_path_factory.mktemp("empty"))
    monkeypatch.setattr(coco, "IN_MEMORY_BYTES", 10)
    with pytest.raises(FcpError, match=r"make it once: fcp data coco --images \S+ --annotations"):
        Coco(root)
    (root / "COCO/coco20i.sqlite").write_bytes(b"no database at all, but long enough" * 99)
    with pytest.raises(FcpError, match="remove it if it is damaged, and run fcp data coco"):
        Coco(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "no images or no annotations"),
        ({"images": [], "annotations": [], "categories": []}, "0 categories, COCO-20i needs"),
        ({"images": [{}], "annotations": [], "categories": CATEGORIES}, "not a COCO instances"),
    ],
)
def test_odd_json_is_refused(root, content, message):
    annotations_of(root)[0].write_text(json.dumps(content))
    with pytest.raises(FcpError, match=message):
        build(root)


def test_the_split_is_in_the_name(tmp_path):
    assert split_of(tmp_path / "instances_train2017.json") == "train"
    with pytest.raises(FcpError, match='"train" or "val" in its name'):
        split_of(tmp_path / "a.json")


def test_real_part_of_coco(data_root):
    data = Coco(data_root)
    for split in ("train", "val"):
        file = data_root / f"COCO/annotations/instances_{split}2017.json"
        expected = api_masks(file)
        shown = {(p, c) for p, pixels in data.areas(split).items() for c in pixels}
        assert shown == {key for key, mask in expected.items() if mask.any()}
        for stem, class_id in sorted(shown)[::20]:
            np.testing.assert_array_equal(data.class_mask(stem, class_id), expected[stem, class_id])
        assert all(data.image_path(picture).is_file() for picture in data.ids(split))


def _fresh(root):
    coco.areas_of_split.cache_clear()
    return Coco(root)
