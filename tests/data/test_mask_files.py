"""What a file declares about its mask: transparent colours, and pages."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcp.data.images import look_at_mask

SIZE = (120, 160)


@pytest.fixture
def disc():
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - 60) ** 2 + (columns - 80) ** 2 < 40**2


def test_a_colour_that_a_file_declares_as_transparent_is_no_object(disc, tmp_path):
    colours = np.full((*SIZE, 3), 255, np.uint8)
    colours[disc] = (200, 0, 0)
    Image.fromarray(colours).save(tmp_path / "m.png", transparency=(255, 255, 255))
    assert (look_at_mask(tmp_path / "m.png", SIZE)[0] == disc).all()


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_transparent_colour_of_a_palette_is_no_object(disc, tmp_path, suffix):
    file = tmp_path / f"m.{suffix}"
    picture = Image.fromarray((~disc).astype(np.uint8))
    picture.putpalette([255, 0, 0, 255, 255, 255])
    picture.save(file, transparency=1)
    mask, notes = look_at_mask(file, SIZE)
    assert (mask == disc).all()
    assert notes == ["what its palette shows as transparent is no object"]


@pytest.mark.parametrize("suffix", ["tif", "gif", "png"])
def test_a_page_of_a_mask_is_read_if_there_is_one(disc, tmp_path, suffix):
    pages = [Image.fromarray(one.astype(np.uint8) * 255) for one in (disc, disc[::2, ::2], ~disc)]
    pages[1] = pages[1].resize(SIZE[::-1], Image.Resampling.NEAREST).transpose(0)
    file = tmp_path / f"m.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(file, np.stack(pages), photometric="minisblack")
    else:
        pages[0].save(file, save_all=True, append_images=pages[1:])
    for page, expected in [(None, 0), (1, 0), (3, 2), (4, 0)]:
        mask, _ = look_at_mask(file, SIZE, page=page)
        assert (mask == np.asarray(pages[expected]).astype(bool)).all()
