"""``--pages N``: of an example's picture and of its mask the same page is read."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcp.errors import FcpError
from fcp.formats.read import read_examples
from fcp.formats.reading import Reading

SIZES = ((20, 30), (10, 15), (8, 12))


def stack(file, pages):
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", metadata=None)


@pytest.fixture
def pages(tmp_path):
    """Return the masks of the pages of ``s.tif``; each page is smaller than the one before."""
    masks = [np.zeros(size, np.uint8) for size in SIZES]
    for number, mask in enumerate(masks, start=1):
        mask[number : number + 3, 2 : 4 + number] = 255
    stack(tmp_path / "s.tif", [np.full(size, 90, np.uint8) for size in SIZES])
    return masks


def given(folder, page):
    ((example,),) = read_examples(folder, None, Reading(page=page)).values()
    return example.given


@pytest.mark.parametrize("page", [1, 2, 3])
def test_the_same_page_of_picture_and_mask_is_read(tmp_path, pages, page):
    stack(tmp_path / "s_mask.tif", pages)
    assert np.array_equal(given(tmp_path, page), pages[page - 1] > 0)


def test_a_mask_of_one_page_is_that_of_the_page_asked_for(tmp_path, pages):
    Image.fromarray(pages[1]).save(tmp_path / "s_mask.png")
    assert np.array_equal(given(tmp_path, 2), pages[1] > 0)
    with pytest.raises(FcpError, match=r"the mask is 15×10 px but .*s\.tif is 30×20 px"):
        given(tmp_path, 1)


def test_label_maps_are_read_by_page_too(tmp_path, pages):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    (tmp_path / "s.tif").rename(tmp_path / "images/s.tif")
    stack(tmp_path / "masks/s.tif", [mask // 255 for mask in pages])
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    assert np.array_equal(given(tmp_path, 2), pages[1] > 0)


def test_a_page_that_the_picture_lacks_is_named(tmp_path, pages):
    stack(tmp_path / "s_mask.tif", pages)
    with pytest.raises(FcpError, match=r"s\.tif: has 3 pages; there is no page 4"):
        given(tmp_path, 4)
