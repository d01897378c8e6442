"""Large photos: strips give what the whole gives, in memory that does not grow with the photo."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcp.data import decode, mask_files, photos, png, strips
from fcp.data.decode import Decoding
from fcp.data.images import (
    label_png,
    mask_png,
    read_image,
    read_labels,
    read_mask,
    read_picture,
    read_size,
)
from fcp.data.photos import is_large, read_photo
from fcp.data.value_range import ValueRange
from fcp.errors import FcpError

WIDTH, HEIGHT = 97, 61


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Everything is large, and a strip a few rows."""
    monkeypatch.setattr(photos, "LARGE", 1000)
    monkeypatch.setattr(mask_files, "LARGE_MASK", 1000)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 5 * WIDTH)
    monkeypatch.setattr(png, "STRIP_PIXELS", 5 * WIDTH)


def picture(mode):
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None]
    rgba = (ramp * [1, 2, 3, 4] + rng.integers(0, 30, (HEIGHT, WIDTH, 4))).astype(np.uint8)
    whole = Image.fromarray(rgba)
    return whole if mode == "RGBA" else whole.convert("RGB").convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_png_in_strips_is_what_pillow_decodes(mode, tmp_path):
    path = tmp_path / "a.png"
    picture(mode).save(path, **({"transparency": 3} if mode == "P" else {}))
    found = list(png.strips_of(path, png.read_outline(path)))
    assert len(found) > 10
    whole = np.concatenate([np.asarray(strip.convert("RGBA")) for strip in found])
    assert np.array_equal(whole, np.asarray(Image.open(path).convert("RGBA")))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_samples_of_a_few_bits_are_unpacked(bits, tmp_path):
    path = tmp_path / "a.png"
    indices = np.random.default_rng(0).integers(0, 1 << bits, (HEIGHT, WIDTH), dtype=np.uint8)
    whole = Image.fromarray(indices)
    whole.putpalette(list(range(3 << bits)))
    whole.save(path, bits=bits)
    outline = png.read_outline(path)
    assert outline.depth == bits
    found = np.concatenate([np.asarray(one) for one in png.strips_of(path, outline)])
    assert np.array_equal(found, indices)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "turned.jpg", "turned.png"])
def test_a_large_photo_is_what_reducing_the_whole_gives(name, tmp_path):
    path, whole = tmp_path / name, picture("RGB")
    exif = Image.Exif()
    if name.startswith("turned"):
        exif[0x0112] = 6
    whole.save(path, exif=exif)
    pixels = read_image(path)
    photo, notes = read_photo(path, most=1500)
    assert photo.size == pixels.shape[:2] == read_size(path)
    small = photo.pixels.shape[:2]
    assert 1200 < small[0] * small[1] < 1600
    wanted = Image.fromarray(pixels).resize(small[::-1], Image.Resampling.BILINEAR)
    # A JPEG is decoded at half its size.
    assert np.abs(photo.pixels - np.asarray(wanted, int)).mean() < (3 if "jpg" in name else 0.6)
    shown = f"{small[1]}×{small[0]} px"
    assert any(f"{photo.size[1]}×{photo.size[0]} px" in n and shown in n for n in notes)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_large_numbers_and_arrays_are_reduced_too(kind, tmp_path):
    values = np.linspace(0, np.iinfo(kind).max, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(kind)
    Image.fromarray(values).save(tmp_path / "a.png")
    for given in (values, tmp_path / "a.png"):
        photo, _ = read_photo(given, most=1500)
        assert photo.size == values.shape
        assert photo.pixels.shape[0] < HEIGHT
        assert photo.pixels.max() > 250 > 5 > photo.pixels.min()


def test_a_photo_of_ordinary_size_is_itself(monkeypatch):
    monkeypatch.setattr(photos, "LARGE", WIDTH * HEIGHT)
    pixels = np.asarray(picture("RGB"))
    photo, notes = read_photo(pixels, most=10)
    assert np.array_equal(photo.pixels, pixels)
    assert photo.drawn is photo
    assert notes == []


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_large_png_is_refused(damage, tmp_path):
    path = tmp_path / "a.png"
    picture("RGB").save(path)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 4
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    with pytest.raises(FcpError, match=r"a\.png: damaged or truncated"):
        read_photo(path, most=1500)


def test_masks_and_labels_come_back(tmp_path):
    labels = np.random.default_rng(0).integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)
    (tmp_path / "labels.png").write_bytes(label_png(labels))
    (tmp_path / "mask.png").write_bytes(mask_png(labels))
    (tmp_path / "deep.png").write_bytes(label_png(labels.astype(np.uint16) * 300))
    assert np.array_equal(read_labels(tmp_path / "labels.png"), labels)
    assert np.array_equal(read_labels(tmp_path / "deep.png"), labels.astype(np.uint16) * 300)
    assert np.array_equal(read_mask(tmp_path / "mask.png", labels.shape), labels > 0)
    mask = Image.open(tmp_path / "mask.png")
    assert mask.mode == "L"
    assert np.array_equal(np.asarray(mask), np.where(labels, 255, 0))


def test_pages_of_a_stack_are_not_all_looked_at_for_each(tmp_path, monkeypatch):
    looked = []
    original = decode.largest_page
    monkeypatch.setattr(decode, "largest_page", lambda file: looked.append(1) or original(file))
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in range(12):
            shape = (8, 6 + (number == 4))
            writer.write(np.full(shape, number, np.uint16), photometric="minisblack")
    for number in range(1, 13):
        is_large(path)
        photos.bytes_held_whole(path)
        photo, _ = read_photo(path, Decoding(page=number))
        assert photo.size == (8, 6 + (number == 5))
    assert len(looked) == 1
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((3, 3), np.uint16), photometric="minisblack")
    assert decode.stored_size(path)[0] == (3, 3)  # a file that was changed is looked at again


def test_only_what_is_larger_than_the_limit_is_large(tmp_path, monkeypatch):
    picture("L").save(tmp_path / "a.png")
    assert is_large(tmp_path / "a.png")
    monkeypatch.setattr(photos, "LARGE", WIDTH * HEIGHT)
    assert not is_large(tmp_path / "a.png")
    assert not is_large(tmp_path / "missing.png")


NUMBERS = [
    ((60, 50), np.uint8),
    ((60, 50, 3), np.uint8),
    ((60, 50), np.uint16),
    ((60, 50, 3), np.uint16),
    ((60, 50, 5), np.uint16),
    ((60, 50), np.float32),
    ((60, 50, 2), np.int16),
]
PACKED = [
    {},
    {"byteorder": ">"},
    {"rowsperstrip": 16},
    {"rowsperstrip": 7, "compression": "zlib"},
    {"tile": (16, 32)},
    {"tile": (32, 16), "compression": "zlib"},
]


@pytest.mark.parametrize("packed", PACKED, ids=str)
@pytest.mark.parametrize(("shape", "kind"), NUMBERS, ids=str)
@pytest.mark.parametrize("turn", [1, 6])
def test_a_large_tiff_is_read_by_rows_as_a_small_one_is_whole(tmp_path, shape, kind, packed, turn):
    file, how = tmp_path / "a.tif", dict(packed)
    values = np.random.default_rng(0).integers(0, 2000, shape)
    values = (values - 700).astype(kind) if kind != np.uint8 else (values % 256).astype(kind)
    tifffile.imwrite(
        file,
        values.astype(kind),
        photometric="rgb" if shape[-1] == 3 else "minisblack",
        planarconfig="contig" if len(shape) == 3 else None,
        extratags=[(274, "H", 1, turn, True)],
        metadata=None,
        byteorder=how.pop("byteorder", "<"),
        **how,
    )
    for choice in (Decoding(), Decoding(ValueRange("values", 10, 900)), Decoding(bands=(1, 1, 1))):
        whole, notes = read_picture(file, choice)
        photo, said = read_photo(file, choice, most=1500)
        assert said[:-1] == notes
        assert photo.size == whole.shape[:2]
        # Where strips end, and before or after it is turned, resizing rounds otherwise.
        other = read_photo(whole, most=1500)[0].pixels.astype(int)
        assert abs(photo.pixels - other).max() <= 1


def test_a_tiff_that_cannot_be_cut_is_read_whole(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (3, 60, 50), dtype=np.uint8)
    options = {"photometric": "rgb", "planarconfig": "separate", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    photo, _ = read_photo(tmp_path / "a.tif", most=1500)
    whole = read_image(tmp_path / "a.tif")
    assert (whole == np.moveaxis(values, 0, -1)).all()
    assert (photo.pixels == read_photo(whole, most=1500)[0].pixels).all()


def test_a_large_tiff_that_ends_early_is_damaged(tmp_path):
    for options in ({}, {"rowsperstrip": 4, "compression": "zlib"}):
        noise = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", noise, photometric="rgb", metadata=None, **options)
        content = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "a.tif").write_bytes(content[:-2000])
        with pytest.raises(FcpError, match=r"a\.tif: (damaged|truncated)"):
            read_photo(tmp_path / "a.tif", most=1500)


@pytest.mark.parametrize(
    ("suffix", "options", "held"),
    [
        ("png", {}, False),
        ("jpg", {}, False),
        ("tif", {}, False),
        ("tif", {"compression": "tiff_adobe_deflate", "tiffinfo": {278: 5}}, False),
        ("tif", {"compression": "jpeg", "tiffinfo": {278: 8}}, True),
        ("webp", {}, True),
        ("bmp", {}, True),
    ],
)
def test_what_is_held_whole_is_known_by_the_header(tmp_path, suffix, options, held):
    picture("RGB").save(tmp_path / f"a.{suffix}", **options)
    expected = photos.BYTES_HELD * WIDTH * HEIGHT if held else 0
    assert photos.bytes_held_whole(tmp_path / f"a.{suffix}") == expected


def test_what_is_held_whole_of_odd_files(tmp_path, monkeypatch):
    picture("RGBA").save(tmp_path / "a.tif")
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(tmp_path / "deep.png")
    for name in ("a.tif", "deep.png"):
        assert photos.bytes_held_whole(tmp_path / name) == photos.BYTES_HELD * WIDTH * HEIGHT
    (tmp_path / "b.webp").write_bytes(b"RIFF")
    assert photos.bytes_held_whole(tmp_path / "b.webp") == 0
    monkeypatch.setattr(photos, "LARGE", 1 << 20)
    assert photos.bytes_held_whole(tmp_path / "deep.png") == 0
