"""Messy folders: each photo once, each result under a name that leads back, the rest told."""

import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcp.data.pages import Pages
from fcp.errors import FcpError
from fcp.labelling.queries import (
    DEAD_LINK,
    EXAMPLE_MASK,
    FAILURES,
    FURTHER_PAGE,
    LONGEST,
    NO_PICTURE,
    OF_A_RUN,
    SUBFOLDER,
    UNKNOWN,
    UNREADABLE,
    VIDEO,
    describe,
    find_photos,
    name_results,
    printable,
    sort_frames,
    split_pages,
)
from fcp.labelling.results import LeftOut


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def named(paths, **how):
    found = find_photos(paths, **how)
    name_results(found, paths)
    return found


def names_of(root, *paths, **how):
    found = named(list(paths or [root]), **how)
    files = [path.relative_to(root).as_posix() for path in found.files]
    return dict(zip(files, found.names, strict=True))


def test_folders_are_looked_into_and_mirrored(tmp_path):
    put(tmp_path, "b/1.jpg", "a/1.jpg", "a/deep/img10.PNG", "a/deep/img2.png", "1.jpg")
    expected = {
        "1.jpg": "1",
        "a/1.jpg": "a/1",
        "a/deep/img2.png": "a/deep/img2",
        "a/deep/img10.PNG": "a/deep/img10",
        "b/1.jpg": "b/1",
    }
    found = names_of(tmp_path)
    assert found == expected
    assert list(found) == list(expected)  # natural order, files before folders


def test_without_recursion_the_folders_are_counted(tmp_path):
    put(tmp_path, "1.jpg", "a/2.jpg", "b/3.jpg")
    found = named([tmp_path], recursive=False)
    assert found.names == ["1"]
    assert (found.left_out[SUBFOLDER].count, found.left_out[SUBFOLDER].first) == (
        2,
        str(tmp_path / "a"),
    )


def test_what_a_shell_expands_keeps_its_folders(tmp_path):
    put(tmp_path, "a/1.jpg", "b/1.jpg", "2.jpg")
    given_by_shell = sorted(tmp_path.iterdir())
    assert names_of(tmp_path, *given_by_shell) == {"a/1.jpg": "a/1", "b/1.jpg": "b/1", "2.jpg": "2"}


def test_files_of_one_name_in_two_folders_keep_them(tmp_path):
    put(tmp_path, "x/1.jpg", "y/1.jpg")
    files = [tmp_path / "x/1.jpg", tmp_path / "y/1.jpg"]
    assert names_of(tmp_path, *files) == {"x/1.jpg": "x/1", "y/1.jpg": "y/1"}


def test_each_photo_comes_once(tmp_path):
    put(tmp_path, "a/1.jpg")
    (tmp_path / "a/up").symlink_to(tmp_path)  # a circle
    assert len(named([tmp_path, tmp_path / "a", tmp_path / "a/1.jpg"]).files) == 1


def test_two_links_to_one_photo_are_two_photos(tmp_path):
    """In git-annex and DVC all photos are links, to one file where their contents are equal."""
    put(tmp_path, "store/x", "photos/real.jpg")
    (tmp_path / "photos/a.jpg").symlink_to(tmp_path / "store/x")
    (tmp_path / "photos/b.jpg").symlink_to(tmp_path / "store/x")
    (tmp_path / "photos/c.jpg").symlink_to(tmp_path / "photos/real.jpg")
    found = named([tmp_path / "photos", tmp_path / "photos/b.jpg"])
    assert found.names == ["a", "b", "c", "real"]


@contextmanager
def as_nobody():
    """Give up what the superuser may do, who may enter all folders."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared():
    """A folder that everybody may enter; pytest's own are its user's alone."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("mode", [0o644, 0o311])
def test_a_folder_that_may_not_be_entered_or_listed_is_told(shared, mode):
    put(shared, "photos/a.jpg", "photos/sub/x.jpg", "photos/sub/y.jpg")
    (shared / "photos/sub").chmod(mode)
    with as_nobody():
        found = find_photos([shared / "photos"])
    (shared / "photos/sub").chmod(0o755)
    assert found.files == [shared / "photos/a.jpg"]
    assert found.left_out == {UNREADABLE: LeftOut(1, str(shared / "photos/sub"))}


def test_a_link_into_a_folder_that_may_not_be_entered_costs_only_itself(shared):
    put(shared, "photos/a.jpg", "locked/z.jpg")
    (shared / "photos/z.jpg").symlink_to(shared / "locked/z.jpg")
    (shared / "locked").chmod(0o600)
    with as_nobody():
        found = named([shared / "photos", shared / "locked/z.jpg"])
    (shared / "locked").chmod(0o755)
    assert found.names == ["photos/a", "locked/z"]  # reading the second reports the error
    assert found.left_out == {DEAD_LINK: LeftOut(1, str(shared / "photos/z.jpg"))}


def test_all_that_is_not_used_is_told(tmp_path):
    put(tmp_path, "1.jpg", "notes.txt", "b.cr2", ".hidden", "__MACOSX/._1.jpg", "Thumbs.db")
    put(tmp_path, "@eaDir/1.jpg", "1_mask.png")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = named([tmp_path], masks=[tmp_path / "1_mask.png"])
    assert found.names == ["1"]
    counts = {reason: one.count for reason, one in found.left_out.items()}
    assert counts == {UNKNOWN: 2, DEAD_LINK: 1, EXAMPLE_MASK: 1}
    assert FAILURES & found.left_out.keys() == {DEAD_LINK}
    told = describe(found.left_out)
    assert f"2 unknown suffix (first {tmp_path / 'b.cr2'})" in told
    assert f"1 dead link ({tmp_path / 'gone.jpg'})" in told


def test_files_that_are_given_stay_whatever_they_are(tmp_path):
    put(tmp_path, "notes.txt")
    missing = tmp_path / "missing.jpg"
    assert named([missing, tmp_path / "notes.txt"]).files == [missing, tmp_path / "notes.txt"]


@pytest.mark.parametrize("version", [3, 5])
@pytest.mark.parametrize("how", ["inside", "by the shell", "its masks"])
def test_what_a_run_has_written_is_no_photo(tmp_path, version, how):
    put(tmp_path, "p.jpg", "found/masks/p.png", "found/overlays/p.jpg", "found/mine.jpg")
    files = '"masks/p.png": null, "overlays/p.jpg": null'
    listed = f', "files": {{{files}}}' if version == 5 else ""
    (tmp_path / "found/results.json").write_text(f'{{"format": "fcp-results-{version}"{listed}}}')
    paths = {
        "inside": [tmp_path],
        "by the shell": sorted(tmp_path.iterdir()),
        "its masks": [tmp_path / "p.jpg", tmp_path / "found"],
    }[how]
    found = named(paths)
    assert {path.name for path in found.files} == {"p.jpg", "mine.jpg"}
    assert found.left_out[OF_A_RUN].count == 3
    for inner in ([tmp_path / "found/overlays"], [tmp_path / "found/masks/p.png"]):
        left_out = named([*inner, tmp_path / "p.jpg"]).left_out
        assert left_out[OF_A_RUN].count == 1
    own = [tmp_path / "found" / name for name in ("masks/p.png", "overlays/p.jpg", "results.json")]
    assert named(paths, own=own).left_out == {}


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(
        FcpError, match=r"gone/a, .*gone/b, .*gone/c: no such file or folder; check"
    ):
        find_photos([tmp_path / "gone" / name for name in "abcd"])
    put(tmp_path, "p.jpg")
    assert named([tmp_path / "gone", tmp_path / "p.jpg"]).files[0] == tmp_path / "gone"
    for address in ("https://host/a.jpg", "s3://host/a.jpg"):
        with pytest.raises(FcpError, match="addresses are not fetched; download the photos first"):
            find_photos([Path(address)])


@pytest.mark.parametrize("name", ["..jpg", "...jpg", ".jpg", "a..jpg"])
def test_a_name_of_dots_is_one(tmp_path, name):
    put(tmp_path, name)
    (result,) = named([tmp_path / name]).names
    assert result.strip(".")
    assert "/" not in result


def test_a_folder_without_photos_says_what_is_in_it(tmp_path):
    put(tmp_path, "scan.cr2")
    with pytest.raises(FcpError, match=r"no picture in this folder \(1 unknown suffix .*scan.cr2"):
        find_photos([tmp_path])
    put(tmp_path, "a.mp4", "b.mp4")
    with pytest.raises(FcpError, match=r"but 2 videos; name each .* --query .*a\.mp4$"):
        find_photos([tmp_path])


def test_names_that_no_disk_or_format_holds_are_changed_and_told(tmp_path):
    root = os.fsencode(tmp_path)
    odd = [b"x" * 250 + b".jpg", b"bell\x07.jpg", b"latin\xe9.jpg", b"good.jpg", b"dir.png"]
    for name in odd[:4]:
        with open(os.path.join(root, name), "wb"):
            pass
    put(tmp_path, "dir.png/1.jpg")
    found = named([tmp_path])
    assert len(found.files) == len(set(found.names)) == 5
    for photo, name in zip(found.files, found.names, strict=True):
        name.encode()
        assert name.isprintable()
        assert max(len(part.encode()) for part in name.split("/")) <= 210
        (tmp_path / "out" / f"{name}.png").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / f"{name}.png").touch()
        printable(photo).encode()
        assert (photo in found.renamed) == (photo.name != "good.jpg")
    assert named([tmp_path]).names[:5] == found.names[:5]  # the same again


def stack(path, pages=3, *, thumbnail=False):
    with tifffile.TiffWriter(path) as writer:
        for number in range(pages):
            writer.write(np.full((8, 12), number, np.uint8), photometric="minisblack")
        if thumbnail:
            writer.write(np.zeros((2, 3), np.uint8), photometric="minisblack")


@pytest.fixture
def stacks(tmp_path):
    """A stack with a thumbnail, a picture with a thumbnail, one page, and what is no picture."""
    stack(tmp_path / "many.tif", thumbnail=True)
    stack(tmp_path / "one.tif", 1, thumbnail=True)
    stack(tmp_path / "only.tif", 1)
    put(tmp_path, "damaged.tif")
    return tmp_path


def test_pages_become_photos_of_their_own(stacks):
    found = find_photos([stacks])
    split_pages(found, every_page=True)
    name_results(found, [stacks])
    files = [Path(file).name for file, _ in found.sources]
    assert list(zip(files, found.pages, found.names, strict=True)) == [
        ("damaged.tif", None, "damaged"),
        ("many.tif", 1, "many-p001"),
        ("many.tif", 2, "many-p002"),
        ("many.tif", 3, "many-p003"),
        ("one.tif", None, "one"),
        ("only.tif", None, "only"),
    ]
    assert found.left_out == {NO_PICTURE: LeftOut(2, str(stacks / "many.tif"))}
    assert describe(found.left_out).startswith("2 thumbnail or mask page (first ")


def test_further_pages_are_counted_where_they_are_not_used(stacks):
    found = find_photos([stacks])
    split_pages(found, every_page=False)
    assert found.pages == [None] * 4
    assert found.left_out == {FURTHER_PAGE: LeftOut(4, str(stacks / "many.tif"))}


def test_names_of_pages_are_nobody_elses(stacks):
    put(stacks, "many-p002.jpg", "many.png", "long" * 60 + ".jpg")
    long = stacks / ("long" * 60 + ".tif")
    stack(long)
    found = find_photos([stacks])
    split_pages(found, every_page=True)
    known = {(str(stacks / "many.tif"), 3): "earlier"}
    name_results(found, [stacks], known)
    names = dict(zip(found.sources, found.names, strict=True))
    assert len(set(names.values())) == len(names) == 12
    assert names[str(stacks / "many.tif"), 3] == "earlier"
    assert names[str(stacks / "many.png"), None] == "many"
    assert all(len(name) <= LONGEST + 9 for name in names.values())


def test_pipes_and_masks_of_label_maps_are_no_photos(tmp_path):
    """A pipe would never end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    Image.new("L", (8, 6)).save(tmp_path / "a.png")
    Image.new("L", (8, 6)).save(tmp_path / "map.png")
    found = find_photos([tmp_path, tmp_path / "pipe.jpg"], masks=[tmp_path / "map.png"])
    assert [path.name for path in found.files] == ["a.png"]
    assert {reason: one.count for reason, one in found.left_out.items()} == {
        "mask of an example": 1,
        "device or pipe": 2,
    }


def test_frames_are_named_after_their_film(tmp_path, monkeypatch):
    put(tmp_path, "cat.mp4", "cat.MOV", "dog.mp4", "cat.png")
    monkeypatch.setattr("fcp.data.decode.pages_of", lambda file: Pages(2, (1, 2)))
    paths = [tmp_path / name for name in ("cat.mp4", "cat.MOV", "dog.mp4")]
    found = find_photos(paths)
    split_pages(found, every_page=False)
    name_results(found, paths)
    films = ("cat_mp4", "cat_MOV", "dog")
    assert found.names == [f"{film}/{number:05}" for film in films for number in range(2)]
    assert (found.pages, found.renamed) == ([1, 2] * 3, [])


def test_photos_of_a_folder_of_frames_are_named_after_it(tmp_path):
    put(tmp_path, "film/0.png", "film/1.png")
    found = find_photos([tmp_path / "film"])
    name_results(found, [tmp_path / "film"], frames=True)
    assert found.names == ["film/0", "film/1"]


def test_frames_that_are_given_by_their_files_are_of_their_folders_film(tmp_path, monkeypatch):
    put(tmp_path, *(f"film/{number}.png" for number in (0, 2, 10)), "clip.mp4", "other/1.png")
    files = sorted((tmp_path / "film").iterdir())
    found = find_photos(files)
    sort_frames(found)
    name_results(found, files, frames=True)
    assert found.names == ["film/0", "film/2", "film/10"]
    monkeypatch.setattr("fcp.data.decode.pages_of", lambda file: Pages(1, (1,)))
    mixed = [tmp_path / "clip.mp4", *files[:1], tmp_path / "other"]
    found = find_photos(mixed)
    sort_frames(found)
    split_pages(found, every_page=False)
    name_results(found, mixed, frames=True)
    assert found.names == ["clip/00000", "film/0", "other/1"]


def test_a_video_and_a_folder_of_frames_of_one_name_are_two_films(tmp_path, monkeypatch):
    put(tmp_path, "walk.mp4", "walk/0.png", "walk/1.png", "Run/0.png", "run.mp4")
    monkeypatch.setattr("fcp.data.decode.pages_of", lambda file: Pages(2, (1, 2)))
    paths = [tmp_path / name for name in ("walk.mp4", "walk", "Run", "run.mp4")]
    found = find_photos(paths)
    split_pages(found, every_page=False)
    name_results(found, paths, frames=True)
    films = [
        (file.name, name.rpartition("/")[0])
        for file, name in zip(found.files, found.names, strict=True)
    ]
    assert {film for file, film in films if file == "walk.mp4"} == {"walk_mp4"}
    assert {film for file, film in films if file == "run.mp4"} == {"run_mp4"}
    assert {film for file, film in films if file.endswith("png")} == {"walk", "Run"}
    name_results(found, paths)  # photos of a folder that is no film
    assert "walk/00000" in found.names


def test_films_in_a_folder_are_left_out_by_name(tmp_path):
    put(tmp_path, "cat.mp4", "dog.png")
    assert find_photos([tmp_path]).left_out == {VIDEO: LeftOut(1, str(tmp_path / "cat.mp4"))}
