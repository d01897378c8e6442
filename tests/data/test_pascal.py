"""The standard VOC layout, and what is said where it is broken."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fcp.data.check import check
from fcp.data.lists import train_lists
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError


def test_pictures_and_masks(mini_voc):
    data = PascalVOC(mini_voc)
    labels = data.labels("val_speck")
    assert data.image("val_speck").shape == (*labels.shape, 3)
    assert np.unique(labels).tolist() == [0, 1, 2, 255]
    mask = data.class_mask("val_speck", 1)
    assert mask.sum() == 3000
    assert not mask[labels == 255].any()


def test_train_keeps_the_order_of_its_file_and_val_is_sorted(mini_voc):
    data = PascalVOC(mini_voc)
    listed = (mini_voc / "VOC2012/ImageSets/Segmentation/trainaug.txt").read_text().split()
    assert data.ids("train") == tuple(listed)
    assert data.ids("val") == tuple(sorted(data.ids("val")))
    assert data.ids("val")[-1] == "val_speck"


def test_missing_parts_are_named(mini_voc, tmp_path):
    with pytest.raises(FcpError, match=r"VOC2012.JPEGImages: no such folder.*must hold VOC2012/"):
        PascalVOC(tmp_path)
    shutil.copytree(mini_voc / "VOC2012", tmp_path / "VOC2012")
    data = PascalVOC(tmp_path)
    lists = tmp_path / "VOC2012/ImageSets/Segmentation"
    (lists / "val.txt").unlink()
    with pytest.raises(FcpError, match=r"val\.txt: cannot be read"):
        data.ids("val")
    for content, message in {
        b"": "expected one picture id a line, found none",
        b"a\nb\na\n": "expected each picture id once, a comes again",
        b"a b\n": "expected one picture id a line, got 'a b'",
        "\u00e4".encode("latin-1"): "not UTF-8 text; save it as UTF-8",
    }.items():
        (lists / "val.txt").write_bytes(content)
        with pytest.raises(FcpError, match=rf"val\.txt: {message}"):
            data.ids("val")
    data.mask_path("val_speck").unlink()
    with pytest.raises(FcpError, match=r"val_speck\.png: no such file"):
        data.labels("val_speck")


def test_pools_of_other_programs(mini_voc, tmp_path):
    pool = tmp_path / "pool.txt"
    data = PascalVOC(mini_voc, pool)
    pool.write_bytes("\ufefftrain_06_1\r\n\ntrain_06_0\r\n".encode())
    assert data.ids("train") == ("train_06_1", "train_06_0")
    pool.write_text("JPEGImages/train_06_1.jpg SegmentationClassAug/train_06_1.png\n")
    assert data.ids("train") == ("train_06_1",)
    pool.write_text("train_06_1\nelsewhere\n")
    with pytest.raises(FcpError, match=r"pool\.txt: lists elsewhere, but there is no .*\.png"):
        data.areas("train")


def test_a_mask_of_another_size_is_named(mini_voc, tmp_path):
    shutil.copytree(mini_voc, tmp_path / "data")
    data = PascalVOC(tmp_path / "data")
    Image.new("L", (50, 40)).save(data.mask_path("val_01_0"))
    message = r"val_01_0\.png: the mask is 50×40 px but .*val_01_0\.jpg is 96×72 px"
    for read in (data.ignored, data.pixels, lambda picture: data.class_mask(picture, 1)):
        with pytest.raises(FcpError, match=message):
            read("val_01_0")
    assert len(check(data).splits["val"].damaged) == 1


def test_lists_are_made_of_masks_alone(mini_voc, tmp_path):
    before = {fold: train_lists(PascalVOC(mini_voc), fold) for fold in range(4)}
    shutil.copytree(mini_voc, tmp_path / "data")
    for photo in (tmp_path / "data/VOC2012/JPEGImages").iterdir():
        photo.unlink()
    assert {f: train_lists(PascalVOC(tmp_path / "data"), f) for f in range(4)} == before
