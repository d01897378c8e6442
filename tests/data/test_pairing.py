"""A mask belongs to the picture of its own folder where both sides have that folder."""

from pathlib import Path

import pytest

from fcp.data.pairing import pair_pictures


def placed(*names):
    return [(Path(name).parent, Path(name)) for name in names]


def pairs(pictures, masks):
    found = pair_pictures(placed(*pictures), placed(*masks))
    return {str(mask): str(picture) for picture, mask in found.pairs}, found.faults


@pytest.mark.parametrize(
    ("pictures", "masks", "lonely"),
    [
        (["train/1.jpg", "train/2.jpg", "val/1.jpg"], ["train/1.png", "val/1.png"], "val/2.png"),
        (["cat/0.jpg", "cat/1.jpg", "dog/0.jpg"], ["cat/0.png", "dog/0.png"], "dog/1.png"),
        (["p1/1.jpg", "p1/2.jpg"], ["p1/1.png"], "p2/2.png"),  # the pictures lack all of p2
        (["p1/1.jpg", "p1/2.jpg", "p2/1.jpg"], ["p1_mask/1.png"], "p2_mask/2.png"),
        (["p1/1.jpg", "p2/3.jpg"], ["p1/cat/1.png"], "p1/cat/3.png"),
        (["1.jpg", "a/1.jpg", "a/2.jpg"], ["1.png", "a/1.png"], "2.png"),
        (["A/1.jpg", "b/2.jpg"], ["b/2.png"], "a/2.png"),
        (["1/2/a_sat.jpg", "2/1/b.jpg"], ["2/1/b.png"], "2/1/a.png"),
    ],
)
def test_a_mask_whose_folder_lacks_its_picture_takes_none_of_another(pictures, masks, lonely):
    found, faults = pairs(pictures, [*masks, lonely])
    assert sorted(found) == sorted(masks)
    (fault,) = faults
    assert f"no picture for the mask {Path(lonely).name}" in fault


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("a/1.jpg", "1.png"),
        ("1.jpg", "cat/1.png"),
        ("day/1.jpg", "cat/1.png"),
        ("train/1.jpg", "cat/train/1.png"),
        ("train/1.jpg", "train/cat/1.png"),
        ("Train/1.jpg", "train/1.png"),
        ("p1/1.jpg", "p1_masks/1.png"),
    ],
)
def test_folders_of_one_side_alone_say_nothing(picture, mask):
    others = ["train/9.jpg", "p1/8.jpg"]
    found, faults = pairs([picture, *others], [mask])
    assert (found, faults) == ({mask: picture}, [])
