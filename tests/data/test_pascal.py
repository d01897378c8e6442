"""The standard VOC layout, and what is said where it is broken."""

import shutil

import numpy as np
import pytest

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
    for content in ("", "a\nb\na\n"):
        (lists / "val.txt").write_text(content)
        with pytest.raises(FcpError, match=r"val\.txt: expected one picture id a line"):
            data.ids("val")
    data.mask_path("val_speck").unlink()
    with pytest.raises(FcpError, match=r"val_speck\.png: no such file"):
        data.labels("val_speck")
