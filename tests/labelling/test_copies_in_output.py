"""Photos that the user puts below a run's output folder, where other tools expect copies."""

import pytest

from fcp.errors import FcpError
from fcp.labelling.queries import OF_A_RUN, find_photos
from fcp.labelling.results import LeftOut


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.fixture
def photos(tmp_path):
    """Return a folder with a photo and the output folder, which holds copies and links."""
    put(tmp_path, "q/p.jpg", "elsewhere/far.jpg", "q/found/masks/p.png", "q/found/results.json")
    put(tmp_path, "q/found/yolo/images/p.jpg", "q/found/p.jpg", "q/found/labelme/notes.txt")
    images = tmp_path / "q/found/yolo/images"
    (images / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (images / "link.jpg").symlink_to(tmp_path / "q/p.jpg")
    (images / "far").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "q"


@pytest.fixture
def own(photos):
    """Return the files of the run."""
    return [photos / "found/masks/p.png", photos / "found/results.json"]


@pytest.mark.parametrize("place", ["q/found", "q/found/../found", "same"])
def test_what_lies_below_it_is_no_photo_of_a_search(tmp_path, photos, own, place):
    (tmp_path / "same").symlink_to(photos / "found")
    found = find_photos([photos, tmp_path / "elsewhere"], own=own, out=tmp_path / place)
    assert found.files == [photos / "p.jpg", tmp_path / "elsewhere/far.jpg"]
    assert found.left_out == {OF_A_RUN: LeftOut(6, str(photos / "found/p.jpg"))}


def test_a_folder_below_it_holds_no_photo_even_if_it_is_given(photos, own):
    with pytest.raises(FcpError, match=r"no picture in this folder \(4 result of fcp \(first"):
        find_photos([photos / "found/yolo"], own=own, out=photos / "found")


@pytest.mark.parametrize("is_first", [True, False])
def test_a_file_below_it_is_a_photo_if_it_is_given_by_itself(photos, own, is_first):
    copy = photos / "found/yolo/images/p.jpg"
    paths = [copy, photos] if is_first else [photos, copy]
    found = find_photos(paths, own=own, out=photos / "found")
    assert set(found.files) == {copy, photos / "p.jpg"}


def test_folders_that_begin_with_its_name_are_searched(photos):
    put(photos, "found-too/a.jpg")
    found = find_photos([photos], out=photos / "found")
    assert found.files == [photos / "p.jpg", photos / "found-too/a.jpg"]
