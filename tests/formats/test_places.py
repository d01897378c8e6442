"""Pictures are found near their annotation, and nowhere else."""

import json
import re
from pathlib import Path

import pytest

from fcp.errors import FcpError
from fcp.formats.places import Finder, find_picture, pair_by_stem
from fcp.formats.reading import Reading
from fcp.system.files import plain

SIZE = (3, 4)


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


@pytest.mark.parametrize(
    "name",
    [
        "C:\\Users\\me\\photos\\Caf\u00e9 1.JPG",
        "/home/other/set/images/cafe\u0301 1.jpg",
        "https://host/data/upload/3/Caf%C3%A9%201.jpg?token=1",
        "/data/local-files/?d=photos/Caf%C3%A9%201.jpg",
        " caf\u00e9 1.jpg ",
        "../../../CAF\u00c9 1.JPG",
        "images/caf\u00e9 1.jpg",
    ],
)
def test_the_one_picture_of_that_name_near_by(tmp_path, write, name):
    for place in ("set/labels/", "set/images/", "set/labels/deep/er/"):
        picture = write(f"{place}Caf\u00e9 1.jpg", (3, 4))
        file = tmp_path / "set/labels/a.json"
        file.parent.mkdir(exist_ok=True)
        assert plain(find_picture(file, name, [file.parent])) == picture
        picture.unlink()
    write("set/other/caf\u00e9 1.jpg", (3, 4))  # another project in the folder above
    with pytest.raises(FcpError, match=r"a\.json: its picture"):
        find_picture(file, name, [file.parent])


def test_two_pictures_of_that_name_are_refused_unless_the_folder_tells(tmp_path, write):
    first, second = write("set/a/1.jpg", (3, 4)), write("set/b/1.jpg", (3, 4))
    file = tmp_path / "set/x.json"
    with pytest.raises(FcpError, match=r"x\.json: is its picture '/far/1\.jpg' .*a/1.* or .*b/1"):
        find_picture(file, "/far/1.jpg", [file.parent])
    assert plain(find_picture(file, "/far/b/1.jpg", [file.parent])) == second
    assert plain(find_picture(file, "D:\\A\\1.jpg", [file.parent])) == first


@pytest.mark.parametrize("name", ["b/1.jpg", "./set/b/1.jpg", "x\\b\\1.jpg", "../images/b/1.jpg"])
def test_a_picture_of_another_folder_than_stated_is_not_taken(tmp_path, write, name):
    write("set/images/a/1.jpg", (3, 4))
    file = tmp_path / "set/x.json"
    with pytest.raises(FcpError, match=r"x\.json: its picture .*1\.jpg' is not there, and .*a/1"):
        find_picture(file, name, [file.parent])
    flat = write("set/pictures/1.jpg", (3, 4))
    (tmp_path / "set/images/a/1.jpg").unlink()
    assert plain(find_picture(file, name, [file.parent])) == flat


@pytest.mark.parametrize(
    "name", ["C:\\me\\b\\1.jpg", "/me/b/1.jpg", "s3://b/b/1.jpg", "/data/local-files/?d=me/b/1.jpg"]
)
def test_folders_of_other_machines_are_noted_unless_they_are_here_too(tmp_path, write, name):
    picture = write("set/images/a/1.jpg", (3, 4))
    file = tmp_path / "set/x.json"
    reading = Reading()
    finder = Finder(file, [file.parent], reading)
    assert [plain(finder.find(name)) for _ in range(2)] == [picture, picture]
    (note,) = reading.notes
    assert "b/ are taken from a/, where alone their names occur" in note.text
    write("set/images/b/2.jpg", (3, 4))
    with pytest.raises(FcpError, match=r"x\.json: its picture .*1\.jpg' is not there, and .*a/1"):
        find_picture(file, name, [file.parent])


@pytest.mark.parametrize("name", ["/far/a/1.jpg", "1.jpg", "deep/a/1.jpg", "data/1.jpg"])
def test_folders_that_contradict_nothing_are_not_noted(tmp_path, write, name):
    picture = write("set/images/a/1.jpg", (3, 4))
    file, reading = tmp_path / "set/x.json", Reading()
    assert plain(find_picture(file, name, [file.parent], reading)) == picture
    assert reading.notes == []


def test_a_file_that_names_another_picture_than_its_namesake_is_noted(tmp_path, write):
    first = write("set/images/a.jpg", (3, 4))
    file, reading = tmp_path / "set/labels/b.xml", Reading()
    file.parent.mkdir()
    folders = [file.parent, file.parent.parent / "images"]
    assert find_picture(file, "a.jpg", folders, reading) == first
    assert reading.notes == []
    write("set/images/b.PNG", (3, 4))
    assert find_picture(file, "a.jpg", folders, reading) == first
    assert [str(note) for note in reading.notes] == [
        f"{file}: is read as of a.jpg, which it names, not of b.PNG"
    ]


@pytest.mark.parametrize("inner", ["", "labelme/"])
def test_an_overlay_is_not_its_photo(tmp_path, write, inner):
    for name in ("overlays/a.jpg", "masks/a.png", "pages/b-p002.png"):
        write(f"found/{name}", SIZE)
    files = dict.fromkeys(["overlays/a.jpg", "masks/a.png", "pages/b-p002.png"])
    write("found/results.json", json.dumps({"format": "fcp-results-6", "files": files}))
    file = write(f"found/{inner}a.json", "{}")
    finder = Finder(file, [file.parent, tmp_path / "found"])
    for name in ("a.jpg", "a"):
        with pytest.raises(FcpError, match=r"its picture '.*a(\.jpg)?' is not there"):
            finder.find(name)
    page = "../pages/b-p002.png" if inner else "b-p002.png"
    assert finder.find(page).parent.name == "pages"
    write("found/a.jpg", SIZE)
    assert Finder(file, [file.parent, tmp_path / "found"]).find("a.jpg").parent.name == "found"


def test_pairs_by_name(tmp_path, write):
    pictures = [write(f"images/{name}", (3, 4)) for name in ("a.png", "b.tar.png", "c.png")]
    labels = [Path("b.tar.txt"), Path("a.txt"), Path("C.png.TXT")]
    expected = [(pictures[i], label) for i, label in zip((1, 0, 2), labels, strict=True)]
    assert pair_by_stem(labels, tmp_path / "images") == (expected, [])
    for folder in ("images", "gone"):
        wanted = str(tmp_path / folder / "d.jpg")
        pairs, (fault,) = pair_by_stem([Path("d.txt")], tmp_path / folder)
        assert pairs == []
        assert fault == f"d.txt: its picture is not there; expected {wanted} or alike"
    write("images/a.jpg", (3, 4))
    pairs, (fault,) = pair_by_stem(labels, tmp_path / "images")
    assert len(pairs) == 2
    assert re.match(r"a\.txt: is it of .*a\.jpg or of .*a\.png\?", fault)
