"""Every kind of picture becomes RGB, every kind of damage one line that names the file."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from fcp.data.images import (
    label_png,
    look_at_mask,
    picture_of,
    read_image,
    read_labels,
    read_mask,
    read_picture,
    read_size,
    voc_palette,
)
from fcp.errors import FcpError

RED = (255, 0, 0)


@pytest.fixture
def gradient() -> np.ndarray:
    return np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)


def test_rgb_png_and_array_are_kept_as_they_are(tmp_path, gradient):
    Image.fromarray(gradient).save(tmp_path / "a.png")
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(gradient), gradient):
        result = read_image(image)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, gradient)


def test_grey_palette_bit_and_cmyk_become_rgb(tmp_path):
    grey = Image.new("L", (4, 3), 100)
    assert (read_image(grey) == 100).all()
    assert (read_image(Image.new("1", (4, 3), 1)) == 255).all()
    palette = Image.new("RGB", (4, 3), RED).convert("P", palette=Image.Palette.ADAPTIVE)
    assert (read_image(palette) == RED).all()
    Image.new("CMYK", (4, 3), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "c.jpg").astype(int) - RED).max() < 8


def test_transparency_is_laid_over_white(tmp_path):
    assert (read_image(Image.new("RGBA", (4, 3), (*RED, 0))) == 255).all()
    half = read_image(Image.new("RGBA", (4, 3), (*RED, 128)))
    assert np.abs(half[0, 0].astype(int) - (255, 127, 127)).max() <= 1
    assert (read_image(Image.new("LA", (4, 3), (0, 0))) == 255).all()
    array = np.zeros((3, 4, 4), np.uint8)
    assert (read_image(array) == 255).all()
    palette = Image.new("P", (4, 3), 0)
    palette.putpalette([10, 20, 30])
    palette.save(tmp_path / "p.png", transparency=0)
    assert (read_image(tmp_path / "p.png") == 255).all()


def test_a_picture_that_is_transparent_everywhere_is_said(tmp_path):
    note = "transparent everywhere, and so read as white; save it without transparency"
    hidden = Image.new("RGBA", (4, 3), (*RED, 0))
    palette = Image.new("P", (4, 3), 0)
    palette.save(tmp_path / "p.png", transparency=0)
    for picture in (hidden, np.asarray(hidden), hidden.convert("LA"), tmp_path / "p.png"):
        assert read_picture(picture)[1] == [note]
    hidden.putpixel((1, 1), (*RED, 1))
    assert read_picture(hidden)[1] == read_picture(np.asarray(hidden))[1] == []
    assert read_picture(hidden.convert("RGB"))[1] == []


@pytest.mark.parametrize("values", [255, 4095])
def test_grey_of_sixteen_bits_with_transparency_is_said_to_be_cut(tmp_path, values):
    file = tmp_path / "deep.png"
    file.write_bytes(deep_grey_png(np.linspace(0, values, 48).reshape(6, 8)))
    notes = ["of its 16 bits a colour the upper 8 are read; a TIFF keeps them all"]
    assert read_picture(file)[1] == notes
    for read in (read_labels, lambda path: read_mask(path, (6, 8))):
        with pytest.raises(FcpError, match=r"deep\.png: of its 16 bits the upper 8 are read; save"):
            read(file)
    file.write_bytes(deep_grey_png(np.eye(6, 8) * 65535))
    assert look_at_mask(file, (6, 8))[1] == [notes[0].partition(";")[0]]
    assert (look_at_mask(file, (6, 8))[0] == np.eye(6, 8)).all()


def deep_grey_png(values):
    """Write an opaque PNG of two bands of 16 bits by hand: Pillow cannot."""

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    bands = np.dstack([values, np.full(values.shape, 65535)]).astype(">u2")
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 4, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in bands))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (257 * 40, 40), (65535, 255)])
def test_sixteen_bits_are_scaled_by_their_range(tmp_path, value, expected):
    deep = np.full((3, 4), value, np.uint16)
    deep[0, 0] = 65535
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    as_integers = Image.fromarray(deep.astype(np.int32))
    for image in (tmp_path / "deep.png", tmp_path / "deep.tif", deep, as_integers):
        assert (read_image(image)[1:] == expected).all()


def test_arrays_of_every_kind(gradient):
    np.testing.assert_array_equal(read_image(gradient[..., :1])[..., 2], gradient[..., 0])
    np.testing.assert_array_equal(read_image(gradient.astype(np.float64) / 255), gradient)
    np.testing.assert_array_equal(read_image(gradient.astype(np.uint16) * 257), gradient)
    np.testing.assert_array_equal(read_image(gradient[:, ::-1]), gradient[:, ::-1])
    assert read_image(np.eye(3, dtype=bool))[1, 1, 0] == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_exif_says(tmp_path, orientation):
    upright = np.zeros((40, 64, 3), np.uint8)
    upright[:20, :32] = 255
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.jpg", exif=exif, quality=100)
    result = read_image(tmp_path / "photo.jpg")
    assert result.shape == upright.shape
    assert read_size(tmp_path / "photo.jpg") == upright.shape[:2]
    assert np.abs(result.astype(int) - upright).mean() < 2


def test_bad_files_are_named(tmp_path, gradient):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("t.jpg", "t.png", "t.webp", "t.tif", "t.bmp"):
        Image.fromarray(noise).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(FcpError, match=rf"{name}: .*(truncated|cannot be read|not a picture)"):
            read_image(tmp_path / name)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    for name, reason in [
        ("missing.jpg", "no such file"),
        ("empty.jpg", "empty"),
        ("text.jpg", "not a picture"),
        ("", "folder"),
    ]:
        with pytest.raises(FcpError, match=reason) as caught:
            read_image(tmp_path / name)
        with pytest.raises(FcpError, match=reason):
            read_size(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_bombs_are_refused_with_the_limit(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(FcpError, match=r"bomb\.png: more pixels than the safe limit of 2,000"):
        read_image(tmp_path / "bomb.png")
    with pytest.raises(FcpError, match=r"bomb\.png: more pixels than the safe limit of 2,000"):
        read_size(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(5, np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 4), complex),
        np.full((4, 4), np.nan),
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(FcpError, match=r"the given array: (expected|none of its values)"):
        read_image(array)


def test_no_picture_at_all_is_refused():
    with pytest.raises(FcpError, match="expected a path"):
        read_image(None)


def test_masks_count_every_nonzero_value(tmp_path):
    values = np.zeros((6, 8), np.uint8)
    values[1, 2], values[3, 4], values[5, 5] = 1, 17, 255
    palette = Image.fromarray(values)
    palette.putpalette([0] * 768)  # all colours black: only the index can tell
    palette.save(tmp_path / "p.png")
    colour = np.stack([values, values * 0, values * 0], axis=2)
    alpha = np.dstack([colour, np.full_like(values, 255)])
    transparent = np.dstack([colour + 1, np.where(values > 0, 255, 0).astype(np.uint8)])
    for mask in (
        tmp_path / "p.png",
        Image.fromarray(values),
        Image.fromarray(colour),
        Image.fromarray(alpha),
        Image.fromarray(transparent),
        values,
        values > 0,
        values.astype(np.float32) / 255,
        values[..., None],
        colour,
        alpha,
    ):
        np.testing.assert_array_equal(read_mask(mask, (6, 8)), values > 0)


def test_masks_of_another_size_name_both(tmp_path):
    Image.new("L", (4, 3)).save(tmp_path / "m.png")
    with pytest.raises(FcpError, match=r"m\.png: the mask is 4×3 px but cat\.jpg is 9×5 px"):
        read_mask(tmp_path / "m.png", (5, 9), "cat.jpg")
    with pytest.raises(FcpError, match=r"EXIF orientation\), or read .* by --drawn-on raw"):
        read_mask(tmp_path / "m.png", (4, 3), "cat.jpg")


def test_labels_are_ids_not_colours(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = Image.fromarray(values)
    palette.putpalette([7] * 768)
    palette.save(tmp_path / "p.png")
    Image.fromarray(values).save(tmp_path / "l.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "p.png"), values)
    np.testing.assert_array_equal(read_labels(tmp_path / "l.png"), values)
    Image.new("RGB", (4, 3)).save(tmp_path / "rgb.png")
    with pytest.raises(FcpError, match=r"rgb\.png: expected a palette or grey PNG"):
        read_labels(tmp_path / "rgb.png")


def test_palette_is_vocs():
    colours = voc_palette().tolist()
    assert colours[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[15] == [192, 128, 128]  # person
    assert colours[255] == [224, 224, 192]


@pytest.mark.parametrize(("kind", "highest"), [(np.uint8, 255), (np.uint16, 60000)])
def test_labels_survive_their_png(tmp_path, kind, highest):
    labels = np.array([[0, 1, 2], [highest, 0, 7]], kind)
    (tmp_path / "labels.png").write_bytes(label_png(labels))
    found = read_labels(tmp_path / "labels.png")
    assert found.dtype == kind
    assert (found == labels).all()


def test_a_picture_inside_another_file_is_named_by_it(gradient):
    stream = io.BytesIO()
    Image.fromarray(gradient).save(stream, "PNG")
    content = stream.getvalue()
    assert (read_image(picture_of(content, "a.json")) == gradient).all()
    for damaged in (b"", b"no picture"):
        with pytest.raises(FcpError, match=r"a\.json: imageData: not a picture"):
            picture_of(damaged, "a.json: imageData")
    with pytest.raises(FcpError, match=r"a\.json: damaged or truncated"):
        read_image(picture_of(content[:-40], "a.json"))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, bool])
@pytest.mark.parametrize("pages", [1, 2])
def test_masks_that_imagej_shows_white_on_black_or_black_on_white(tmp_path, kind, pages):
    """Its masks are 255 in the file either way; "white is zero" says how they are shown."""
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:17] = True
    values = mask if kind is bool else mask.astype(kind) * np.iinfo(kind).max
    for photometric in ("minisblack", "miniswhite"):
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for _ in range(pages):
                writer.write(values, photometric=photometric, metadata=None)
        assert (read_mask(tmp_path / "a.tif", mask.shape) == mask).all()
        with Image.open(tmp_path / "a.tif") as opened:
            assert (read_mask(opened, mask.shape) == mask).all()
        assert (read_labels(tmp_path / "a.tif") == values).all()
    shown = read_image(tmp_path / "a.tif")
    assert shown[mask].max() == 0
    assert shown[~mask].min() == 255


@pytest.mark.parametrize(("kind", "nothing"), [(np.float32, -9999), (np.int16, -1), (np.uint16, 9)])
def test_what_a_mask_calls_no_data_is_no_foreground(tmp_path, kind, nothing):
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:17] = True
    values = np.where(mask, 1, nothing).astype(kind)
    tags = [(42113, "s", 0, str(nothing), True)]
    options = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=tags, **options)
    assert (read_mask(tmp_path / "a.tif", mask.shape) == mask).all()
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    expected = mask if nothing < 0 else np.ones_like(mask)  # no object has a negative number
    assert (read_mask(tmp_path / "a.tif", mask.shape) == expected).all()
