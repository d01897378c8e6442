"""Names that are unique on every disk, and a folder for each film."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fcp.labelling.queries import Photos, name_results
from fcp.labelling.unique_names import unique_names


@given(st.lists(st.sampled_from(["x", "X", "x_2", "é", "e\u0301", "d/x", "D/x"]), max_size=8))
def test_names_are_unique_on_every_disk(names):
    found = unique_names(names)
    assert len({name.casefold().replace("e\u0301", "é") for name in found}) == len(names)
    assert found == unique_names(names)
    assert [a for a, b in zip(found, names, strict=True) if a == b] or not names


def test_numbers_go_to_later_ones_and_known_names_stay():
    assert unique_names(["x", "x_2", "x", "X", "x"]) == ["x", "x_2", "x_3", "X_4", "x_5"]
    assert unique_names(["x", "y"], [None, "x"], ["x"]) == ["x_2", "x"]


def named(*files, known=None, frames=False):
    """Return the names of the first two frames of videos, or of pictures."""
    photos = Photos()
    for file in map(Path, files):
        for page in (None,) if frames else (1, 2):
            photos.add(file, page)
    name_results(photos, [Path(file) for file in files], known, frames=frames)
    return dict(zip(photos.sources, photos.names, strict=True))


def folders(names):
    return {file: name.rpartition("/")[0] for (file, _), name in names.items()}


def test_a_later_film_of_the_same_name_has_a_folder_of_its_own():
    first = named("/va/clip.mp4")
    assert list(first.values()) == ["clip/00000", "clip/00001"]
    later = named("/vc/clip.mp4", known=first)
    assert list(later.values()) == ["clip_2/00000", "clip_2/00001"]
    both = named("/vc/clip.mp4", "/va/clip.mp4", known=first | later)
    assert both == first | later


def test_the_rest_of_a_film_goes_to_the_folder_of_its_known_frames():
    known = {("/va/clip.mp4", 1): "clip/00000", ("/vb/clip.mp4", 1): "clip_2/00000"}
    names = named("/vb/clip.mp4", "/vb/clip.mov", known=known)
    assert folders(names) == {"/vb/clip.mp4": "clip_2", "/vb/clip.mov": "clip_mov"}
    assert names["/vb/clip.mp4", 2] == "clip_2/00001"


def test_films_that_differ_in_case_have_folders_of_their_own():
    names = named("/v/Clip.mp4", "/v/clip.mp4")
    assert list(names.values()) == [
        *("Clip_mp4/00000", "Clip_mp4/00001", "clip_mp4_2/00000", "clip_mp4_2/00001")
    ]


def test_two_folders_of_frames_of_one_name_are_two_films():
    first = named("/a/walk/0.png", "/a/walk/1.png", frames=True)
    later = named("/b/walk/0.png", "/b/walk/2.png", known=first, frames=True)
    assert list(first.values()) == ["walk/0", "walk/1"]
    assert list(later.values()) == ["walk_2/0", "walk_2/2"]
