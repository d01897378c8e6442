"""Folders that hold several layouts: what is read and what is left out is said."""

import json

import numpy as np
import pytest
from PIL import Image

from fcp.formats.contents import masks_in
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading

SIZE = (30, 40)
BOX = "0 0.5 0.5 0.5 0.5\n"
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}],
    "categories": [{"id": 1, "name": "zebra"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
}
VOC = (
    "<annotation><filename>a.jpg</filename><object><name>cat</name><bndbox><xmin>3</xmin>"
    "<ymin>3</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)
MASKS, BESIDE = ("images/a.jpg", "masks/a.png"), ("b.jpg", "b_mask.png")
CAT, DOG = ("cat/c.jpg", "cat/c_mask.png"), ("dog/images/d.jpg", "dog/masks/d.png")
YOLO, JSON, XML = ("labels/a.txt", "classes.txt"), ("instances.json",), ("Annotations/a.xml",)
RUN = ("found/results.json", "found/masks/x.png", "found/x.jpg", "found/x_mask.png")


@pytest.fixture
def put(tmp_path):
    """Return what fills a folder with files, whose names tell their content."""
    texts = {
        "a.txt": BOX,
        "classes.txt": "zebra\n",
        "data.yaml": "names: [zebra]\n",
        "instances.json": json.dumps(COCO),
        "info.json": json.dumps({"made": "by hand"}),
        "dataset.json": json.dumps({"labels": {"background": 0, "zebra": 255}}),
        "results.json": json.dumps({"format": "fcp-results-6", "files": {}}),
        "a.xml": VOC,
        "other.xml": "<project/>",
    }

    def put(*names):
        for name in names:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.name in texts:
                path.write_text(texts[path.name])
            elif path.suffix == ".jpg":
                noise = np.random.default_rng(len(name)).integers(0, 256, (*SIZE, 3), np.uint8)
                Image.fromarray(noise).save(path)
            else:
                mask = np.zeros(SIZE, np.uint8)
                mask[8:20, 8:30] = 255
                Image.fromarray(mask).save(path)
        return tmp_path / "set"

    return put


def notes_on(folder):
    reading = Reading()
    read_examples(folder, None, reading)
    return [note.text for note in reading.notes if note.text.startswith("several layouts")]


@pytest.mark.parametrize(
    ("files", "read", "left_out"),
    [
        ((*CAT, *DOG, *BESIDE), "b_mask.png", "cat/, dog/"),
        ((*MASKS, *BESIDE), "masks/", "b_mask.png"),
        ((*MASKS, "b.jpg", "b_seg.png"), "masks/", "b_seg.png"),
        ((*MASKS, *CAT), "masks/", "cat/"),
        ((*MASKS, *YOLO), "labels/a.txt", "masks/"),
        ((*YOLO, "images/a.jpg", *CAT), "labels/a.txt", "cat/"),
        ((*MASKS, "info.json", *JSON), "masks/", "instances.json"),
        ((*MASKS, *XML), "masks/", "Annotations/a.xml"),
        ((*BESIDE, "more/train/c.jpg", "more/train/c_mask.png"), "b_mask.png", "more/"),
        ((*BESIDE, "more/instances.json"), "b_mask.png", "more/"),
        (("a.jpg", *JSON, *XML), "the annotation file", "Annotations/a.xml"),
        (("a.jpg", *JSON, *CAT), "the annotation file", "cat/"),
    ],
)
def test_a_second_layout_in_a_folder_is_said(put, files, read, left_out):
    (told,) = notes_on(put(*files))
    assert f": {read} and what belongs to it is read; left out: {left_out}; put each" in told


@pytest.mark.parametrize(
    "files",
    [
        (*CAT, *DOG),
        (*MASKS, "info.json", "other.xml", "old/e.jpg"),
        (*BESIDE, *RUN),
        (*YOLO, "images/a.jpg", "images/instances.json"),
        ("data.yaml", "train/labels/a.txt", "train/images/a.jpg", "test/labels/a.txt"),
        ("imagesTr/a_0000.png", "labelsTr/a.png", "dataset.json"),
        ("JPEGImages/a.jpg", *XML, "JPEGImages/b.jpg"),
        ("train/a.jpg", "train_masks/a.png", "val/b.jpg", "val_masks/b.png"),
        ("images/cat/a.jpg", "masks/cat/a.png", "images/dog/b.jpg", "masks/dog/b.png"),
        ("a.jpg", *JSON),
        ("annotations/instances.json", "images/a.jpg"),
    ],
)
def test_one_layout_is_not_called_several(put, files):
    folder = put(*files)
    if "test/labels/a.txt" in files:
        put("test/images/a.jpg")
        (folder / "test/labels/a.txt").write_text("")
    assert notes_on(folder) == []


def test_what_fcp_has_found_is_no_class(put):
    folder = put(*CAT, *RUN)
    reading = Reading()
    assert list(read_examples(folder, None, reading)) == ["cat"]
    assert [str(one) for one in reading.notes] == [
        f"{folder / 'found'}: left out: results of fcp segment"
    ]
    assert list(read_examples(folder / "found")) == ["found"]
    put("train/t.jpg", "train/t_mask.png")
    assert "found" not in read_examples(folder)


def test_masks_are_found_whether_examples_use_them_or_not(put):
    folder = put(*CAT, *DOG, "cat/f.jpg", "cat/f_mask.png", "train/fox/g.jpg", "train/fox/g_gt.png")
    (folder / "cat/f_mask.png").write_bytes(b"")
    (folder / "dog/again").symlink_to(folder)
    found = {one.relative_to(folder).as_posix() for one in masks_in(folder)}
    assert found == {"cat/c_mask.png", "cat/f_mask.png", "dog/masks/d.png", "train/fox/g_gt.png"}
    assert masks_in(folder / "cat/c.jpg") == set()
