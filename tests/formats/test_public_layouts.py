"""Layouts of public data sets: read with the right masks and classes, or named with the remedy."""

import json

import numpy as np
import pytest
from annotated import INSIDE, SIZE, read_masks_of
from PIL import Image

from fcp.errors import FcpError
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading

OBJECT = INSIDE
OTHER = np.zeros(SIZE, bool)
OTHER[20:28, 20:30] = True
WHITE = OBJECT.astype(np.uint8) * 255
MAP = OBJECT.astype(np.uint8) + 2 * OTHER.astype(np.uint8)
COLOURS = np.zeros((*SIZE, 3), np.uint8)
COLOURS[OBJECT], COLOURS[OTHER] = (64, 128, 64), (128, 0, 192)
VIEW = np.full(SIZE, 255, np.uint8)  # of a retina's camera
VIEW[0] = 0


@pytest.fixture
def put(tmp_path, write):
    """Return what writes files into a folder ``set``: arrays as pictures, numbers as photos."""

    def put_files(files):
        for name, content in files.items():
            path = tmp_path / "set" / name
            if isinstance(content, np.ndarray):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(path)
            else:
                text = json.dumps(content) if isinstance(content, dict | list) else content
                write(f"set/{name}", SIZE if content is None else text)
        return tmp_path / "set"

    return put_files


ONE_CLASS = [
    ("ISIC_0.jpg", "ISIC_0_segmentation.png"),
    ("ISIC-2017_Training_Data/a.jpg", "ISIC-2017_Training_Part1_GroundTruth/a_segmentation.png"),
    ("ISIC2018_Training_Input/a.jpg", "ISIC2018_Training_GroundTruth/a_segmentation.png"),
    ("a.jpg", "a_gt.png"),
    ("a.jpg", "a_matte.png"),
    ("a.jpg", "a.seg.png"),
    ("a.jpg", "a_manual1.gif"),
    ("a.jpg", "mask_a.png"),
    ("image_1.png", "mask_1.png"),
    ("img1.png", "mask1.png"),
    ("12_sat.jpg", "12_mask.png"),
    ("images/a.jpg", "masks/a_alpha.png"),
    ("images/img_1.png", "masks/mask_1.png"),
    ("images/a.jpg", "GT/a.png"),
    ("images/a.jpg", "Ground Truth/a.png"),
    ("images/train/a.jpg", "labels/train/a.png"),
    ("images/21_training.tif", "1st_manual/21_manual1.gif"),
    ("imagesTr/case_1_0000.png", "labelsTr/case_1.png"),
    ("JPEGImages/480p/bear/00000.jpg", "Annotations/480p/bear/00000.png"),
    ("Original/1.tif", "Ground Truth/1.tif"),
    ("DUTS-TR-Image/a.jpg", "DUTS-TR-Mask/a.png"),
    ("train/01.png", "trainannot/01.png"),
    ("train/01.png", "train_labels/01_L.png"),
    ("photos/a.jpg", "masks/a.png"),
]


@pytest.mark.parametrize(("picture", "mask"), ONE_CLASS)
def test_masks_of_one_class(put, picture, mask):
    ((name, of_it),) = read_masks_of(put({picture: None, mask: WHITE})).items()
    assert name == "set"
    assert list(of_it) == [picture.split("/")[-1]]
    assert (of_it[picture.split("/")[-1]] == OBJECT).all()


SEVERAL = [
    ("img_dir/train/a.jpg", "ann_dir/train/a.png", "classes.txt", "bg\ncat\ndog"),
    (
        "imagesTr/a_0000.png",
        "labelsTr/a.png",
        "dataset.json",
        {"labels": {"background": 0, "cat": 1, "dog": 2}},
    ),
    ("imagesTr/a_0000.png", "labelsTr/a.png", "dataset.json", {"labels": {"1": "cat", "2": "dog"}}),
    (
        "leftImg8bit/val/x/x_0_leftImg8bit.png",
        "gtFine/val/x/x_0_gtFine_labelIds.png",
        "classes.txt",
        "bg\ncat\ndog",
    ),
    ("images/a.jpg", "annotations/a.png", "labels.txt", "bg\ncat\ndog"),
    ("StillsRaw/a.png", "Labeled/a_L.png", "label_colors.txt", "64 128 64\tcat\n128 0 192\tdog"),
    (
        "train/a.png",
        "train_labels/a_L.png",
        "class_dict.csv",
        "name,r,g,b\ncat,64,128,64\ndog,128,0,192\nVoid,0,0,0",
    ),
]


@pytest.mark.parametrize(("picture", "mask", "names", "content"), SEVERAL)
def test_label_maps_with_their_list(put, picture, mask, names, content):
    labels = COLOURS if mask.endswith("_L.png") else MAP
    found = read_masks_of(put({picture: None, mask: labels, names: content}))
    assert list(found) == ["cat", "dog"]
    base = picture.split("/")[-1]
    assert (found["cat"][base] == OBJECT).all()
    assert (found["dog"][base] == OTHER).all()


@pytest.mark.parametrize("place", ["SegmentationClass", "ann_dir", "gtFine"])
def test_label_maps_without_a_list_are_not_one_class(put, place):
    folder = put({"images/a.png": None, f"{place}/a.png": MAP})
    with pytest.raises(FcpError, match=rf"{place}: label maps without names; name their values in"):
        read_examples(folder)


def test_a_mask_for_each_nucleus(put):
    files = {}
    for name in ("id1", "id2"):
        files |= {f"{name}/images/{name}.png": None, f"{name}/masks/0f.png": WHITE}
        files[f"{name}/masks/1e.png"] = OTHER.astype(np.uint8) * 255
    folder = put(files)
    found = read_masks_of(folder)
    assert list(found) == ["set"]
    assert list(found["set"]) == ["id1.png", "id2.png"]
    assert (found["set"]["id2.png"] == OBJECT | OTHER).all()
    assert (read_masks_of(folder / "id1")["id1"]["id1.png"] == OBJECT | OTHER).all()


def test_a_picture_without_any_nucleus_is_named_and_can_be_skipped(put):
    files = {}
    for name, values in (("id1", WHITE), ("id2", np.zeros(SIZE, np.uint8))):
        files |= {f"{name}/images/{name}.png": None, f"{name}/masks/0f.png": values}
    folder = put(files)
    with pytest.raises(FcpError, match=r"id2.masks.0f\.png: the masks of .*id2\.png are empty"):
        read_examples(folder)
    found = read_examples(folder, reading=Reading(skip_bad=True))
    assert [example.picture.name for example in found["set"]] == ["id1.png"]


@pytest.mark.parametrize("matting", [False, True])
def test_trimaps(put, matting):
    border = np.zeros(SIZE, bool)
    border[14, 4:12] = True
    values = (255, 0, 128) if matting else (1, 2, 3)
    trimap = np.where(OBJECT, values[0], np.where(border, values[2], values[1])).astype(np.uint8)
    reading = Reading()
    found = read_masks_of(put({"images/a.jpg": None, "annotations/trimaps/a.png": trimap}), reading)
    assert (found["set"]["a.jpg"] == OBJECT).all()
    assert "a trimap: its border does not count" in str(reading.notes)


def test_the_field_of_view_is_no_vessel(put):
    files = {"images/1_training.tif": None, "1st_manual/1_manual1.gif": WHITE}
    reading = Reading()
    found = read_masks_of(put({**files, "mask/1_training_mask.gif": VIEW}), reading)
    assert (found["set"]["1_training.tif"] == OBJECT).all()
    assert "mask/ is taken for the field of view" in str(reading.notes)


def test_folders_of_masks_that_pictures_do_not_have_are_classes(put):
    files = {"images/a.jpg": None, "images/b.jpg": None, "masks/cat/a.png": WHITE}
    found = read_masks_of(put({**files, "masks/dog/a.png": 255 * OTHER.astype(np.uint8)}))
    assert (found["cat"]["a.jpg"] == OBJECT).all()
    assert (found["dog"]["a.jpg"] == OTHER).all()


def test_folders_that_both_have_are_one_class_and_said(put):
    files = {f"{kind}/{name}/a.png": WHITE for kind in ("images", "masks") for name in ("x", "y")}
    reading = Reading()
    assert len(read_examples(put(files), reading=reading)["set"]) == 2
    assert "in x/, y/ are read as one class, set" in str(reading.notes)


REFUSED = [
    ({"images/a.jpg": None, "masks/a.png": WHITE, "gt/a.png": MAP}, "are gt/ or masks/ the masks"),
    (
        {"Image/a.jpg": None, "GT_Object/a.png": MAP, "GT_Edge/a.png": MAP},
        "which are the masks: GT",
    ),
    ({"a.jpg": None, "a_seg.png": WHITE, "a_gt.png": MAP}, r"is a_gt.png or a_seg.png a mask\?"),
    ({"a.jpg": None, "a_seg.jpg": WHITE}, "if a_seg.jpg is the mask, call it a_mask.jpg"),
    ({"a.jpg": None, "a.png": WHITE}, "a.jpg and a.png: if a.png is the mask, call it a_mask.png"),
    ({"a.png": None, "a_L.png": None}, "if a_L.png is the mask, call it a_mask.png"),
    (
        {"images/a.jpg": None, "masks/a_0.png": WHITE, "masks/a_1.png": MAP},
        r"no picture for the mask a_1.png; if it is that of a.jpg, call it a.png, and join several",
    ),
    (
        {"x/a.jpg": None, "x_masks/a.png": WHITE, "y/a.jpg": None, "y_masks/a.png": WHITE},
        r"several folders of masks \(x/ with x_masks/, y/ with y_masks/\); put each pair",
    ),
    ({"t/ADE_train_00000001.jpg": None, "t/ADE_train_00000001_seg.png": COLOURS}, "ADE20K"),
]


@pytest.mark.parametrize(("files", "told"), REFUSED)
def test_what_may_be_read_in_two_ways_is_named(put, files, told):
    with pytest.raises(FcpError, match=told):
        read_examples(put(files))


def test_an_archive_and_a_backup_of_cvat(put):
    folder = put({"x.zip": "PK"})
    with pytest.raises(FcpError, match=r"x\.zip: an archive; unpack it first"):
        read_examples(folder / "x.zip")
    shapes = [{"version": 0, "tags": [], "shapes": [], "tracks": []}]
    folder = put({"task.json": {"name": "t"}, "annotations.json": shapes, "data/a.jpg": None})
    with pytest.raises(FcpError, match=r"annotations\.json: annotations of a backup of CVAT; exp"):
        read_examples(folder)


def test_a_data_set_of_nnunet_names_its_classes_in_any_folder(put):
    labels = {"labels": {"background": 0, "cat": 1, "dog": 2}}
    folder = put(
        {
            "Dataset001_Pets/dataset.json": labels,
            "Dataset001_Pets/imagesTr/a_0000.png": None,
            "Dataset001_Pets/labelsTr/a.png": MAP,
        }
    )
    one = {"cat": OBJECT, "dog": OTHER}
    for path in (folder / "Dataset001_Pets", folder):
        found = read_masks_of(path)
        assert found.keys() == one.keys()
        assert all((found[name]["a_0000.png"] == mask).all() for name, mask in one.items())
    put(
        {
            "Dataset002_More/dataset.json": {"labels": {"0": "background", "2": "cat"}},
            "Dataset002_More/imagesTr/b_0000.png": None,
            "Dataset002_More/labelsTr/b.png": 2 * OTHER.astype(np.uint8),
        }
    )
    assert [*read_masks_of(folder)["cat"]] == ["a_0000.png", "b_0000.png"]
