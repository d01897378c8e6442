"""Pictures are found near their annotation, and nowhere else."""

import re
from pathlib import Path

import pytest

from fcp.errors import FcpError
from fcp.formats.places import find_picture, pair_by_stem, plain, require_stated_size


def test_names_are_followed_below_the_folder_above(tmp_path, write):
    file = tmp_path / "set/labels/a.json"
    beside, above = write("set/labels/a.png", (3, 4)), write("set/images/å.png", (3, 4))
    for name, expected in {
        "a.png": beside,
        "./a.png": beside,
        str(beside): beside,
        "../images/å.png": above,
        "..\\images\\å.png": above,
        str(above): above,
    }.items():
        assert plain(find_picture(file, name, [file.parent])) == expected
    assert find_picture(file, "å.png", [file.parent, file.parent.parent / "images"]) == above


@pytest.mark.parametrize("name", ["../../secret.png", "{}/secret.png", "..\\..\\secret.png"])
def test_names_that_lead_elsewhere(tmp_path, write, name):
    write("secret.png", (3, 4))
    file = tmp_path / "set/labels/a.json"
    file.parent.mkdir(parents=True)
    with pytest.raises(FcpError, match=r"a\.json: its picture .*secret\.png' lies outside .*set,"):
        find_picture(file, name.format(tmp_path), [file.parent])


def test_links_of_the_user_are_followed(tmp_path, write):
    write("disk/a.png", (3, 4))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/images").symlink_to(tmp_path / "disk")
    file = tmp_path / "set/a.json"
    assert find_picture(file, "images/a.png", [file.parent]).is_file()


@pytest.mark.parametrize("name", ["gone.png", "x" * 5000, "nul\0.png", "."])
def test_pictures_that_are_not_there(tmp_path, name):
    with pytest.raises(FcpError, match=r"a\.json: its picture .* is not there; put it beside"):
        find_picture(tmp_path / "a.json", name, [tmp_path])


@pytest.mark.parametrize("name", [None, 3, "", ["a.png"]])
def test_what_is_no_name(tmp_path, name):
    with pytest.raises(FcpError, match=r"a\.json: expected a picture's file name, got"):
        find_picture(tmp_path / "a.json", name, [tmp_path])


def test_pairs_by_name(tmp_path, write):
    pictures = [write(f"images/{name}", (3, 4)) for name in ("a.png", "b.tar.png", "c.png")]
    labels = [Path("b.tar.txt"), Path("a.txt")]
    expected = [(pictures[1], labels[0]), (pictures[0], labels[1])]
    assert pair_by_stem(labels, tmp_path / "images") == expected
    for folder in ("images", "gone"):
        wanted = re.escape(str(tmp_path / folder / "d.jpg"))
        with pytest.raises(FcpError, match=rf"d\.txt: its picture is not there; .*{wanted}"):
            pair_by_stem([Path("d.txt")], tmp_path / folder)
    write("images/a.jpg", (3, 4))
    with pytest.raises(FcpError, match=r"a\.txt: is it of .*a\.jpg or of .*a\.png\?"):
        pair_by_stem(labels, tmp_path / "images")


def test_another_pictures_annotations():
    require_stated_size(Path("a.json"), (3, 4), (3, 4))
    with pytest.raises(FcpError, match=r"a\.json: made for a picture of 5×3 px, .* is 4×3 px; put"):
        require_stated_size(Path("a.json"), (3, 5), (3, 4))
    with pytest.raises(FcpError, match=r"turned \(EXIF orientation\)"):
        require_stated_size(Path("a.json"), (4, 3), (3, 4))
    with pytest.raises(FcpError, match="made for a picture of wide×None px"):
        require_stated_size(Path("a.json"), (None, "wide"), (3, 4))
