"""Names of masks and of their folders: which are marks, and what is left without them."""

from pathlib import Path

import pytest

from fcp.data.mask_names import (
    folder_without_mark,
    is_mask_folder_name,
    is_mask_name,
    is_other_file,
    is_trimap_name,
    loose_picture_names,
    mark_of,
    names_without_mark,
)

MARKS = ("seg", "gt", "GT", "label", "labels", "segmentation", "matte", "alpha", "annotation")
MORE = ("manual1", "1stHO", "trimap", "groundtruth", "ground-truth", "Segmentation", "binary")


@pytest.mark.parametrize("mark", [*MARKS, *MORE])
@pytest.mark.parametrize("between", "_-. ")
def test_ends(mark, between):
    path = Path(f"a 1{between}{mark}.png")
    assert mark_of(path) == f"{between}{mark}".casefold()
    assert "a 1" in names_without_mark(path)
    assert not is_mask_name(path)


@pytest.mark.parametrize("start", ["mask_", "gt_", "Label-", "seg ", "masks."])
def test_starts(start):
    path = Path(f"{start}a.png")
    assert mark_of(path) == start.casefold()
    assert "a" in names_without_mark(path)


def test_numbers_need_nothing_between():
    assert names_without_mark(Path("mask12.png"))[-1] == "12"
    assert loose_picture_names(Path("image12.png")) == ["12"]
    assert mark_of(Path("maskara.png")) is None


@pytest.mark.parametrize(
    "name", ["seg", "gt", "dog", "a_L", "a_Simple Segmentation", "label", "ADE_train_00000001_seg"]
)
def test_names_that_mark_nothing(name):
    assert mark_of(Path(f"{name}.png")) is None


def test_sure_ends_and_other_files():
    assert all(is_mask_name(Path(name)) for name in ("a_mask.png", "a-MASKS.tif", "a_cp_masks.png"))
    assert is_mask_name(Path("a_mask.ome.tif"))
    assert is_other_file(Path("x_gtFine_color.png"))
    assert not is_other_file(Path("x_gtFine_labelIds.png"))


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("12_sat.jpg", "12_mask.png"),
        ("21_training.tif", "21_manual1.gif"),
        ("case_001_0000.png", "case_001.png"),
        ("aachen_0_leftImg8bit.png", "aachen_0_gtFine_labelIds.png"),
        ("img_7.png", "gt_7.png"),
    ],
)
def test_a_picture_and_its_mask_share_a_name(picture, mask):
    assert set(loose_picture_names(Path(picture))) & set(names_without_mark(Path(mask)))


@pytest.mark.parametrize(
    ("folder", "of"),
    [
        *(("train_masks", "train"), ("trainannot", "train"), ("X-GT", "x"), ("val labels", "val")),
        *(("masks", None), ("annot", None), ("cats", None), ("gtrain", None)),
    ],
)
def test_folders_of_masks(folder, of):
    assert folder_without_mark(folder) == of


def test_words_in_folders():
    words = (
        "Ground Truth",
        "DUTS-TR-Mask",
        "ISIC_GroundTruth",
        "LabeledApproved_full",
        "GT_Object",
    )
    assert all(is_mask_folder_name(name) for name in words)
    others = ("images", "original", "segway", "unmasked faces", "targets")
    assert not any(is_mask_folder_name(name) for name in others)


def test_trimaps():
    assert is_trimap_name(Path("annotations/trimaps/a.png"))
    assert is_trimap_name(Path("a_trimap.png"))
    assert not is_trimap_name(Path("a.png"))
