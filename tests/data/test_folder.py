"""A person's folders in both layouts, and each mistake with its remedy."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fcp.data.folder import list_pictures, read_support_folder, unique_stems
from fcp.errors import FcpError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), 255).save(folder / name)


def test_suffix_layout(tmp_path):
    touch(tmp_path, "cat10.jpg", "cat10_mask.png", "cat2.png", "cat2_mask.png", "extra.jpg")
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden_mask.png").touch()
    assert read_support_folder(tmp_path) == [
        (tmp_path / "cat2.png", tmp_path / "cat2_mask.png"),
        (tmp_path / "cat10.jpg", tmp_path / "cat10_mask.png"),
    ]


def test_two_folder_layout(tmp_path):
    touch(tmp_path, "images/b.jpg", "images/a.jpg", "masks/a.png", "masks/b.PNG")
    assert read_support_folder(tmp_path) == [
        (tmp_path / "images/a.jpg", tmp_path / "masks/a.png"),
        (tmp_path / "images/b.jpg", tmp_path / "masks/b.PNG"),
    ]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(FcpError, match="nowhere: cannot be read"):
        read_support_folder(tmp_path / "nowhere")
    touch(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(FcpError, match=r"no example found; expected NAME\.jpg with NAME_mask"):
        read_support_folder(tmp_path)
    touch(tmp_path, "a_mask.png", "c_mask.png")
    with pytest.raises(FcpError, match=r"no picture for the mask c_mask\.png"):
        read_support_folder(tmp_path)
    (tmp_path / "c_mask.png").unlink()
    touch(tmp_path, "a.png")
    with pytest.raises(FcpError, match=r"a_mask\.png: is it the mask of .*a\.jpg or of .*a\.png"):
        read_support_folder(tmp_path)


def test_pictures_are_listed_naturally_and_once(tmp_path):
    touch(tmp_path, "img10.jpg", "img2.JPG", "sub/other.jpg", ".hidden.jpg")
    (tmp_path / "notes.txt").touch()
    missing = tmp_path / "missing.jpg"
    listed = list_pictures([missing, tmp_path, tmp_path / "img2.JPG", tmp_path / "notes.txt"])
    names = ["missing.jpg", "img2.JPG", "img10.jpg", "notes.txt"]
    assert listed == [tmp_path / name for name in names]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FcpError, match=r"empty: no picture in this folder .*\.jpg"):
        list_pictures([tmp_path / "empty"])


def test_stems_that_collide_get_numbers():
    paths = [Path(p) for p in ("a/x.jpg", "b/x.jpg", "x.png", "x_2.jpg", "X.bmp", "y.tar.jpg")]
    assert unique_stems(paths) == ["x", "x_3", "x_4", "x_2", "X_5", "y.tar"]


@given(st.lists(st.sampled_from(["x.jpg", "x.png", "X.jpg", "x_2.jpg", "x_3.png", "y.jpg"])))
def test_stems_never_collide(names):
    stems = unique_stems([Path(name) for name in names])
    assert len({stem.casefold() for stem in stems}) == len(names)
    assert stems == unique_stems([Path(name) for name in names])
