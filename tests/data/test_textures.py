"""A photo in place of a mask is refused, a cut-out is its transparency, noise is neither."""

import io
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from fcp.data.images import look_at_mask
from fcp.errors import FcpError

SIZE = (120, 160)


@pytest.fixture
def disc():
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - 60) ** 2 + (columns - 80) ** 2 < 40**2


@pytest.fixture
def photo():
    file = files("fcp") / "demo/photos/astronaut.jpg"
    return Image.open(io.BytesIO(file.read_bytes())).convert("RGB").resize(SIZE[::-1])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("darker", [1, 6])
def test_a_cut_out_is_its_transparency(disc, photo, mode, darker):
    pixels = Image.fromarray(np.asarray(photo) // darker).convert(mode[:-1])
    pixels.putalpha(Image.fromarray(disc.astype(np.uint8) * 255))
    mask, notes = look_at_mask(pixels, SIZE)
    assert (mask == disc).all()
    assert notes == ["the mask is a cut-out in its own colours: all that is opaque is the object"]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P"])
def test_a_photo_is_no_mask(photo, mode):
    with pytest.raises(FcpError, match="a photo, not a mask; put a mask there that is 0"):
        look_at_mask(photo.quantize(256) if mode == "P" else photo.convert(mode), SIZE)


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_noise_of_jpeg_is_no_photo(tmp_path, quality):
    """Dense small objects, and objects of several colours, whose noise is everywhere."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    cells = (rows % 20 - 10) ** 2 + (columns % 20 - 10) ** 2 < 49
    colours = np.random.default_rng(0).choice([128, 192, 64], (6, 8, 3)).repeat(20, 0).repeat(20, 1)
    for values in (cells * np.uint8(255), (cells[..., None] * colours).astype(np.uint8)):
        Image.fromarray(values).save(tmp_path / "m.jpg", quality=quality)
        mask, _ = look_at_mask(tmp_path / "m.jpg", SIZE)
        assert (mask & cells).sum() / (mask | cells).sum() > 0.7


def test_a_smooth_map_is_no_photo():
    ramp = np.tile(np.linspace(0, 255, SIZE[1]).astype(np.uint8), (SIZE[0], 1))
    assert (look_at_mask(ramp, SIZE)[0].mean(axis=0) > 0).sum() >= SIZE[1] // 2
