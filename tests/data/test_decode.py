"""Files of every kind: turned as sizes say, pages and frames told, damage found."""

import io
import os
import struct
import zlib
from functools import partial

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcp.data.decode import Decoding, pages_of
from fcp.data.images import read_image, read_label_picture, read_mask, read_picture, read_size
from fcp.data.pages import Pages
from fcp.data.turns import turn_array
from fcp.data.value_range import ValueRange
from fcp.errors import FcpError
from fcp.system.files import PICTURE_SUFFIXES

WRITTEN = [s for s in sorted(PICTURE_SUFFIXES) if s in Image.registered_extensions()]
BANDS = np.stack([np.full((6, 8), 10 * band, np.uint8) for band in range(1, 6)], axis=2)


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize("turn", [1, 2, 3, 4, 5, 6, 7, 8, 0, 99])
@pytest.mark.parametrize("suffix", WRITTEN)
def test_the_size_is_that_of_the_pixels(tmp_path, colours, suffix, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    file = tmp_path / f"a{suffix}"
    Image.fromarray(colours).save(file, exif=exif)
    assert read_size(file) == read_image(file).shape[:2]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("shape", [(12, 20), (12, 20, 3), (12, 20, 4)])
@pytest.mark.parametrize("pages", [1, 2])
def test_tiffs_are_turned_however_they_are_packed(tmp_path, shape, compression, pages, turn):
    photometric = "rgb" if len(shape) == 3 else "minisblack"
    extra = ["unassalpha"] if shape[-1] == 4 else None
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    values = np.concatenate([values[..., :3], values[..., 3:] | 255], -1) if extra else values
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for _ in range(pages):
            writer.write(
                values,
                photometric=photometric,
                extrasamples=extra,
                compression=compression,
                extratags=[(274, "H", 1, turn, True)],
                metadata=None,
            )
    colours = values[..., :3] if len(shape) == 3 else values[..., None].repeat(3, -1)
    upright = turn_array(colours, turn)
    assert (read_image(tmp_path / "a.tif") == upright).all()
    assert read_size(tmp_path / "a.tif") == upright.shape[:2]


@pytest.mark.parametrize("turn", range(1, 9))
def test_arrays_are_turned_as_pillow_turns(tmp_path, colours, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(colours).save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png") == turn_array(colours, turn)).all()
    deep = colours.astype(np.uint16) * 257
    tag = [(274, "H", 1, turn, True)]
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", extratags=tag)
    assert (read_image(tmp_path / "a.tif") == turn_array(colours, turn)).all()
    assert read_size(tmp_path / "a.tif") == turn_array(colours, turn).shape[:2]


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.jpg_large", "a.JPG"])
def test_jpegs_by_other_names(tmp_path, name):
    Image.new("RGB", (4, 3), (200, 0, 0)).save(tmp_path / name, "JPEG")
    assert read_image(tmp_path / name)[0, 0, 0] > 150


def test_heic_needs_its_package(tmp_path, monkeypatch):
    file = tmp_path / "a.heic"
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 0, 0))).save(file)
    assert read_image(file).shape == (48, 64, 3)
    assert read_size(file) == (48, 64)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(FcpError, match=r"a\.heic: HEIC pictures need pillow-heif; pip install pil"):
        read_image(file)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_whole_and_one_without_pixels_is_not(
    tmp_path, colours, progressive
):
    stream = io.BytesIO()
    Image.fromarray(colours).resize((200, 120)).save(stream, "JPEG", progressive=progressive)
    content = stream.getvalue()
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    expected = read_image(file)
    file.write_bytes(content[:-2])
    assert (read_image(file) == expected).all()
    for cut in (10, 60, len(content) // 3):
        file.write_bytes(content[:-cut])
        with pytest.raises(FcpError, match=r"a\.jpg: damaged or truncated"):
            read_image(file)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_of_an_animation_the_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 6), (value, 0, 0)) for value in (250, 10, 90)]
    file = tmp_path / f"a{suffix}"
    frames[0].save(file, save_all=True, append_images=frames[1:], lossless=True)
    pixels, notes = read_picture(file)
    assert pixels[0, 0, 0] > 240
    assert notes == ["animated: the first of its 3 frames is read; --pages all reads each"]
    assert pages_of(file) == Pages(3, (1, 2, 3))
    read = [read_picture(file, Decoding(page=number)) for number in (1, 2, 3)]
    for (pixels, said), value in zip(read, (250, 10, 90), strict=True):
        assert abs(int(pixels[0, 0, 0]) - value) < 6
        assert said == []
    for number in (0, 4):
        with pytest.raises(FcpError, match=f"a{suffix}: has 3 frames; there is no frame {number}"):
            read_image(file, Decoding(page=number))


def test_a_page_that_is_asked_for_does_not_matter_where_there_is_one(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.png")
    assert pages_of(tmp_path / "a.png") == Pages()
    assert (read_image(tmp_path / "a.png", Decoding(page=2)) == colours).all()


def test_of_several_pages_the_largest(tmp_path):
    file = tmp_path / "a.tif"
    with tifffile.TiffWriter(file) as writer:
        for value, size in [(1, (2, 2)), (2, (6, 8)), (3, (3, 4))]:
            writer.write(np.full(size, value, np.uint8))
    assert pages_of(file).count == 3
    pixels, notes = read_picture(file)
    assert (pixels.shape, pixels[0, 0, 0]) == ((6, 8, 3), 2)
    assert read_size(file) == (6, 8)
    assert notes == ["page 2 of 3 is read, the largest; --pages chooses"]
    assert read_picture(file, Decoding(page=3))[0].shape == (3, 4, 3)
    for number in (0, 4):
        with pytest.raises(FcpError, match=f"has 3 pages; there is no page {number}"):
            read_image(file, Decoding(page=number))


def test_thumbnails_and_masks_of_a_tiff_are_no_pictures_of_their_own(tmp_path):
    file = tmp_path / "a.tif"
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.zeros((4, 6), np.uint8))  # both sides are half
        writer.write(np.full((8, 12), 2, np.uint8))
        writer.write(np.zeros((20, 30), bool), subfiletype=4, photometric="mask")
        writer.write(np.full((7, 5), 4, np.uint8))  # another sheet, tall and narrow
        writer.write(np.zeros((8, 12), np.uint8), subfiletype=1)
        writer.write(np.full((8, 12), 6, np.uint8), subfiletype=2)  # "a page of several"
    assert pages_of(file) == Pages(6, (2, 4, 6))
    assert read_size(file) == (8, 12)
    assert read_picture(file)[1] == ["page 2 of 6 is read, the largest; --pages chooses"]


def test_a_tiff_of_thumbnails_alone_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 6), 9, np.uint8), subfiletype=1)
    assert pages_of(tmp_path / "a.tif") == Pages(1, (1,))
    assert (read_image(tmp_path / "a.tif") == 9).all()


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_damaged_page_is_named_and_the_others_are_read(tmp_path, kind):
    file = tmp_path / "a.tif"
    content = np.arange(3 * 40 * 50).reshape(3, 40, 50).astype(kind)
    tifffile.imwrite(file, content, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(file) as tiff:
        place = tiff.pages[1].dataoffsets[0]
    damaged = bytearray(file.read_bytes())
    damaged[place : place + 20] = bytes(20)
    file.write_bytes(damaged)
    assert pages_of(file) == Pages(3, (1, 2, 3))
    with pytest.raises(FcpError, match=r"a\.tif, page 2: damaged or truncated"):
        read_image(file, Decoding(page=2))
    full = ValueRange("full")
    top = 255 / np.iinfo(kind).max
    for number in (1, 3):
        pixels = read_image(file, Decoding(full, page=number))[..., 0]
        assert np.abs(pixels - content[number - 1] * top).max() <= 0.5


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_many_bands(tmp_path, kind, planar):
    file = tmp_path / "a.tif"
    content = BANDS if planar == "contig" else np.moveaxis(BANDS, 2, 0)
    content = content.astype(kind) * (257 if kind == "uint16" else 1)
    tifffile.imwrite(file, content, photometric="minisblack", planarconfig=planar)
    pixels, notes = read_picture(file)
    assert pixels.shape == (6, 8, 3)
    assert (np.diff(pixels[0, 0].astype(int)) > 0).all()
    assert "the first three of its 5 bands are read; --bands 4,3,2 chooses others" in notes
    chosen = read_image(file, Decoding(bands=(4, 3, 2)))
    assert (np.diff(chosen[0, 0].astype(int)) < 0).all()
    with pytest.raises(FcpError, match=r"--bands: there is no band 6; it has 5"):
        read_image(file, Decoding(bands=(6, 1, 1)))


def test_infrared_that_is_declared_as_transparency(tmp_path):
    four = np.dstack([BANDS[..., :3], np.zeros((6, 8), np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unassalpha"])
    assert (read_image(tmp_path / "a.tif") == 255).all()
    chosen = Decoding(bands=(1, 2, 4))
    assert read_image(tmp_path / "a.tif", chosen)[0, 0].tolist() == [10, 20, 0]
    Image.fromarray(four).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", chosen)[0, 0].tolist() == [10, 20, 0]


def test_twelve_bits_of_colour_in_sixteen(tmp_path, colours):
    low = colours.astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "low.tif", low, photometric="rgb")
    tifffile.imwrite(tmp_path / "high.tif", low * 16, photometric="rgb")
    low, high = (read_image(tmp_path / f"{n}.tif").astype(int) for n in ("low", "high"))
    assert np.abs(low - high).mean() <= 1


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        (np.float32, "-9999"),
        (np.float32, "-3.40282346638528898e+38"),  # as GDAL writes the least float of 32 bits
        (np.float32, "-3.4028234663852886e+38"),
        (np.float64, "1e+300"),
        (np.float32, "nan"),
        (np.int16, "-32768.0"),
        (np.uint32, "4294967295"),
        (np.int64, "-9223372036854775808"),
    ],
)
def test_no_data_of_gis_is_neither_the_darkest_value_nor_the_brightest(tmp_path, dtype, text):
    values = np.linspace(1, 4095, 40).reshape(5, 8)[[0, 0, 1, 2, 3, 4]].astype(dtype)
    values[0] = float(text) if np.dtype(dtype).kind == "f" else int(text.removesuffix(".0"))
    tag = [(42113, "s", 0, text, True)]
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=tag)
    pixels = read_image(tmp_path / "a.tif")[..., 0]
    assert (pixels[0] == 0).all()
    assert pixels[1, 0] < 10
    assert pixels[5, 7] == 255


@pytest.mark.parametrize("text", ["none", "-9999", "0.5", "1e400"])
def test_no_data_that_a_type_cannot_hold_is_none(tmp_path, text):
    values = np.linspace(10, 20, 48).reshape(6, 8).astype(np.uint16)
    for name, tags in (("a", [(42113, "s", 0, text, True)]), ("b", [])):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, extratags=tags)
    assert (read_image(tmp_path / "a.tif") == read_image(tmp_path / "b.tif")).all()


def test_a_compression_that_needs_a_package_names_it(tmp_path, monkeypatch):
    Image.fromarray(BANDS[..., :3]).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert (read_image(tmp_path / "a.tif") == BANDS[..., :3]).all()

    def lacking(*_, **__):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", lacking)
    with pytest.raises(FcpError, match=r"its compression \(LZW\) needs imagecodecs; pip install"):
        read_image(tmp_path / "a.tif", Decoding(bands=(1,)))


def test_every_flipped_bit_in_a_png_is_found(tmp_path):
    """Pillow compares no checksum of pixels: half of such masks came out whole and wrong."""
    rng = np.random.default_rng(0)
    values = np.kron(rng.integers(0, 2, (8, 8), dtype=np.uint8), np.ones((8, 8), np.uint8)) * 255
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    content = stream.getvalue()
    file = tmp_path / "a.png"
    for _ in range(200):
        damaged = bytearray(content)
        bit = int(rng.integers(8 * 8, 8 * len(content)))
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        try:
            mask = read_mask(file, (64, 64))
        except FcpError as error:
            assert "a.png: " in str(error)  # noqa: PT017  (most are refused, and named)
        else:
            assert (mask == (values > 0)).all()


def png_of(header, pixels, *others):
    """Write a PNG by hand: the content of IHDR, the bytes of its rows, and chunks between."""
    chunks = [(b"IHDR", header), *others, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(inside))
        + kind
        + inside
        + struct.pack(">I", zlib.crc32(kind + inside))
        for kind, inside in chunks
    )


def test_a_png_that_claims_more_pixels_than_it_holds(tmp_path):
    """Pillow makes black ones of those that are missing, and takes hundreds of megabytes."""
    rows = (b"\0" + b"\xff" * 20) * 20
    whole = struct.pack(">IIBBBBB", 20, 20, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png_of(whole, rows))
    assert (read_image(tmp_path / "a.png") == 255).all()
    claimed = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png_of(claimed, rows))
    with pytest.raises(FcpError, match=r"a\.png: damaged .*fewer pixels in it than its head"):
        read_image(tmp_path / "a.png")
    Image.new("L", (4000, 4000)).save(tmp_path / "b.png")  # as tight as a true one can be
    assert read_size(tmp_path / "b.png") == read_image(tmp_path / "b.png").shape[:2]


def test_a_palette_with_too_much_transparency(tmp_path):
    header = struct.pack(">IIBBBBB", 20, 20, 8, 3, 0, 0, 0)
    rows = (b"\0" + b"\x07" * 20) * 20
    content = png_of(header, rows, (b"PLTE", bytes(6)), (b"tRNS", bytes(300)))
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_image, partial(read_label_picture, colours=True)):
        with pytest.raises(FcpError, match=r"a\.png: damaged or truncated \(palette index"):
            read(tmp_path / "a.png")


def test_a_volume_is_no_picture_of_many_bands(tmp_path):
    values = np.zeros((8, 64, 64), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, volumetric=True, tile=(16, 16, 16))
    with pytest.raises(FcpError, match=r"a\.tif: expected a picture, not a volume; save each"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "pointer of Git LFS.*lfs pull",
        ),
        (b"<!DOCTYPE html><html>", "a web page in place of the picture; download it again"),
        (b"<svg xmlns='x'>", r"a drawing \(SVG\); save it as PNG"),
        (b"%PDF-1.7", "a PDF; save its pages as PNG"),
    ],
)
def test_what_lies_in_place_of_a_picture(tmp_path, content, told):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(FcpError, match=rf"a\.jpg: .*{told}"):
        read_size(tmp_path / "a.jpg")


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    for read in (read_size, read_image):
        with pytest.raises(FcpError, match=r"a\.jpg: a device or pipe, expected a file"):
            read(tmp_path / "a.jpg")
