"""A person's folders in both layouts, and each mistake with its remedy."""

import re
from pathlib import Path

import pytest
from PIL import Image

from fcp.data.folder import pair_support_folder
from fcp.errors import FcpError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), 255).save(folder / name)


def test_suffix_layout(tmp_path):
    touch(tmp_path, "cat10.jpg", "cat10_mask.png", "cat2.png", "cat2_mask.png", "extra.jpg")
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden_mask.png").touch()
    assert pair_support_folder(tmp_path).pairs == [
        (tmp_path / "cat2.png", tmp_path / "cat2_mask.png"),
        (tmp_path / "cat10.jpg", tmp_path / "cat10_mask.png"),
    ]


def test_two_folder_layout(tmp_path):
    touch(tmp_path, "images/b.jpg", "images/a.jpg", "masks/a.png", "masks/b.PNG")
    assert pair_support_folder(tmp_path).pairs == [
        (tmp_path / "images/a.jpg", tmp_path / "masks/a.png"),
        (tmp_path / "images/b.jpg", tmp_path / "masks/b.PNG"),
    ]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(FcpError, match="nowhere: cannot be read"):
        pair_support_folder(tmp_path / "nowhere")
    touch(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(FcpError, match=r"no example found; expected NAME\.jpg with NAME_mask"):
        pair_support_folder(tmp_path)
    touch(tmp_path, "a_mask.png", "c_mask.png")
    (fault,) = pair_support_folder(tmp_path).faults
    assert "no picture for the mask c_mask.png" in fault
    (tmp_path / "c_mask.png").unlink()
    touch(tmp_path, "a.png")
    (fault,) = pair_support_folder(tmp_path).faults
    assert re.search(r"a_mask\.png: is it the mask of .*a\.jpg or of .*a\.png", fault)
