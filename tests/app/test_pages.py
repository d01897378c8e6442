"""Each page of an upload as a picture of its own: the numbers of the file, whatever they are."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcp.app.pages import own_pages, page_of
from fcp.data.decode import Decoding
from fcp.data.images import read_image
from fcp.data.value_range import ValueRange
from fcp.errors import FcpError


def numbers(seed, shape, dtype):
    drawn = np.random.default_rng(seed).integers(0, 200, shape)
    return (drawn / 7 - 5 if np.dtype(dtype).kind == "f" else drawn).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((30, 40), np.uint8, {"photometric": "minisblack"}),
        ((30, 40, 3), np.uint8, {"photometric": "rgb"}),
        ((30, 40, 4), np.uint8, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        ((30, 40), np.uint16, {"photometric": "minisblack"}),
        ((30, 40), np.uint16, {"photometric": "miniswhite"}),
        ((30, 40, 3), np.uint16, {"photometric": "rgb"}),
        ((30, 40, 5), np.uint16, {"photometric": "minisblack", "planarconfig": "contig"}),
        ((5, 30, 40), np.uint8, {"photometric": "minisblack", "planarconfig": "separate"}),
        ((30, 40), np.float32, {"photometric": "minisblack"}),
        (
            (30, 40),
            np.int16,
            {"photometric": "minisblack", "extratags": [(42113, "s", 0, "7", True)]},
        ),
        (
            (30, 40),
            np.uint32,
            {"photometric": "minisblack", "extratags": [(42113, "s", 0, "4294967295", True)]},
        ),
    ],
)
@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("bands", [None, (3, 2, 1)])
def test_a_page_is_read_as_in_its_file(tmp_path, shape, dtype, options, turn, bands):
    stack = tmp_path / "stack.tif"
    tags = [*options.pop("extratags", []), (274, "H", 1, turn, True)]
    with tifffile.TiffWriter(stack) as writer:
        for seed in range(2):
            values = numbers(seed, shape, dtype)
            for tag in tags[:-1]:
                values[:5] = np.dtype(dtype).type(tag[3])
            writer.write(values, extratags=tags, metadata=None, **options)
    if bands is not None and len(shape) == 2:
        bands = (1,)
    assert own_pages(stack) == (1, 2)
    for page in (1, 2):
        suffix, content = page_of(stack, page)
        (tmp_path / f"page{suffix}").write_bytes(content)
        for values in (ValueRange(), ValueRange("values", 3, 90)):
            alone = read_image(tmp_path / f"page{suffix}", Decoding(values, bands))
            assert (alone == read_image(stack, Decoding(values, bands, page))).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_a_frame_is_read_as_in_its_file(tmp_path, suffix):
    frames = [Image.fromarray(numbers(seed, (20, 30, 3), np.uint8)) for seed in range(3)]
    film = tmp_path / f"film.{suffix}"
    frames[0].save(film, save_all=True, append_images=frames[1:], lossless=True)
    assert own_pages(film) == (1, 2, 3)
    for page in own_pages(film):
        suffix, content = page_of(film, page)
        assert suffix == ".png"
        alone = read_image(Image.open(io.BytesIO(content)))
        assert (alone == read_image(film, Decoding(page=page))).all()


def test_what_has_no_pages(tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    (tmp_path / "b.tif").write_bytes(b"II*\0 nothing")
    assert own_pages(tmp_path / "a.png") == own_pages(tmp_path / "b.tif") == ()
    with pytest.raises(FcpError, match=r"b\.tif"):
        page_of(tmp_path / "b.tif", 1)
