"""One list of classes above several folders of label maps names the values in all of them."""

import numpy as np
import pytest
from annotated import INSIDE, SIZE, read_masks_of
from PIL import Image

from fcp.errors import FcpError
from fcp.formats.reading import Reading

BESIDE = np.roll(INSIDE, 12, axis=1)


@pytest.fixture
def put(tmp_path, write):
    """Return what writes a part with a map whose square, and the one beside it, have values."""

    def put(part, first, second, name="x"):
        write(f"{part}/images/{name}.png", SIZE)
        file = write(f"{part}/masks/{name}.png", b"")
        Image.fromarray((first * INSIDE + second * BESIDE).astype(np.uint8)).save(file)

    return put


@pytest.mark.parametrize("first_line", ["background\n", ""])
@pytest.mark.parametrize("above", ["", "train/"])
def test_the_list_above_names_the_values_in_all_folders(tmp_path, write, put, first_line, above):
    """The second part alone could not tell whether the list begins with the background's line."""
    put(f"{above}2024-05-01", 1, 2, "a")
    put(f"{above}2024-05-02", 1, 0, "b")
    write("classes.txt", f"{first_line}wheat\nweed\n")
    reading = Reading()
    found = read_masks_of(tmp_path, reading)
    assert {name: list(masks) for name, masks in found.items()} == {
        "wheat": ["a.png", "b.png"],
        "weed": ["a.png"],
    }
    np.testing.assert_array_equal(found["wheat"]["b.png"], INSIDE)
    np.testing.assert_array_equal(found["weed"]["a.png"], BESIDE)
    said = "2024-05-01/, 2024-05-02/ are read as parts of one data set, not as classes"
    assert f"names the values of the masks below it; {said}" in reading.files_by_note()


def test_a_picture_called_like_its_folder(tmp_path, write, put):
    put("1", 1, 2, "1")
    put("2", 2, 1, "2")
    write("classes.txt", "background\nwheat\nweed\n")
    found = read_masks_of(tmp_path)
    assert list(found) == ["wheat", "weed"]
    np.testing.assert_array_equal(found["wheat"]["2.png"], BESIDE)


def test_folders_that_the_list_names_are_classes(tmp_path, write, put):
    put("wheat", 255, 0, "a")
    put("weed", 0, 255, "b")
    write("classes.txt", "background\nwheat\nweed\n")
    assert {name: list(masks) for name, masks in read_masks_of(tmp_path).items()} == {
        "weed": ["b.png"],
        "wheat": ["a.png"],
    }


def test_a_list_that_would_be_ignored_is_named(tmp_path, write, put):
    put("monday", 255, 0)
    put("tuesday", 255, 0)
    write("classes.txt", "background\nwheat\nweed\n")
    with pytest.raises(FcpError, match=r"classes\.txt: names no value but the background's"):
        read_masks_of(tmp_path)
    put("monday", 1, 2)
    write("tuesday/classes.txt", "background\nweed\n")
    with pytest.raises(FcpError, match=r"in monday/\? tuesday/ holds other .* or move it away"):
        read_masks_of(tmp_path)
    (tmp_path / "tuesday/classes.txt").unlink()
    (tmp_path / "tuesday/masks/x.png").rename(tmp_path / "tuesday/masks/other.png")
    with pytest.raises(FcpError, match=r"classes\.txt is taken for the list of these masks' val"):
        read_masks_of(tmp_path)
