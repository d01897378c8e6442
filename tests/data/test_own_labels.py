"""Label maps of fcp, saved again by other programs: the colours that a person sees decide."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fcp.data.images import label_png, palette_png, voc_palette
from fcp.data.own_labels import read_own_labels, read_own_mask
from fcp.errors import FcpError


@pytest.fixture
def labels():
    """Return a map without the label 1."""
    values = np.zeros((12, 16), np.uint8)
    values[2:6, 2:9], values[7:11, 5:15] = 2, 9
    return values


@pytest.fixture
def written(tmp_path, labels):
    (tmp_path / "map.png").write_bytes(label_png(labels))
    return tmp_path / "map.png"


def same(read, labels):
    return read.dtype == labels.dtype and np.array_equal(read, labels)


def test_a_map_as_it_was_written(written, labels):
    assert same(read_own_labels(written), labels)
    written.write_bytes(label_png(labels.astype(np.uint16) + 300))
    assert same(read_own_labels(written), labels.astype(np.uint16) + 300)


@pytest.mark.parametrize("kind", ["quantized", "RGB", "RGBA", "bmp", "gif", "few"])
def test_a_map_that_another_program_saved(written, labels, kind):
    picture = Image.open(written).convert("RGBA" if kind == "RGBA" else "RGB")
    if kind in ("quantized", "bmp", "gif"):
        picture = picture.quantize(256)
    if kind == "few":  # a palette of 2 bits
        picture = picture.quantize(3)
    picture.save(written, format=kind if kind in ("bmp", "gif") else "png")
    if picture.mode == "P":
        assert not np.array_equal(np.asarray(Image.open(written)), labels)
    assert same(read_own_labels(written), labels)


def test_a_large_map_is_looked_up_by_strips(written, labels, monkeypatch):
    Image.open(written).convert("RGB").quantize(256).save(written)
    monkeypatch.setattr("fcp.data.mask_files.LARGE_MASK", 1)
    monkeypatch.setattr("fcp.data.strips.STRIP_PIXELS", 20)
    assert same(read_own_labels(written), labels)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_greys_are_values(tmp_path, labels, mode):
    Image.fromarray(labels).convert(mode).save(tmp_path / "grey.png")
    assert same(read_own_labels(tmp_path / "grey.png"), labels)


def test_unused_entries_of_a_palette_do_not_matter(written, labels):
    palette = voc_palette()
    palette[[1, 3]] = 77
    written.write_bytes(palette_png(labels, palette))
    assert same(read_own_labels(written), labels)


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_a_strange_colour_is_refused(written, labels, mode):
    palette = voc_palette()
    palette[9] = (1, 2, 255)
    written.write_bytes(palette_png(labels, palette))
    Image.open(written).convert(mode).save(written)
    with pytest.raises(FcpError, match=r"map\.png: #0102ff is the colour of no class; paint"):
        read_own_labels(written)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_what_was_erased_from_a_map_is_background(written, labels, mode):
    erased = labels == 9
    if mode == "P":
        palette = Image.open(written)
        palette.info["transparency"] = bytes([255] * 9 + [0])
        palette.save(written)
    else:
        picture = Image.fromarray(labels) if mode == "LA" else Image.open(written)
        picture = picture.convert(mode)
        picture.putalpha(Image.fromarray((~erased).astype(np.uint8) * 255))
        picture.save(written)
    assert same(read_own_labels(written), np.where(erased, 0, labels).astype(np.uint8))


def bands(*values):
    return Image.fromarray(np.dstack(values).astype(np.uint8))


def indexed(indices, *colours):
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette([value for colour in colours for value in (colour, colour, colour)])
    return picture


@pytest.mark.parametrize("black", [0, 255])  # colour of what is transparent
def test_an_object_that_is_erased_leaves_an_empty_mask(tmp_path, labels, black):
    object_ = labels > 0
    hidden, grey = np.where(object_, 0, 255), np.where(object_, black, 0)
    clear = indexed(object_, 0, black)
    for picture in (bands(grey, hidden), bands(grey, grey, grey, hidden), clear):
        options = {"transparency": 1} if picture is clear else {}
        picture.save(tmp_path / "m.png", **options)
        assert not read_own_mask(tmp_path / "m.png").any()


def test_a_mask_that_another_program_saved(tmp_path, labels):
    object_ = labels > 0
    white, full = 255 * object_, np.full(labels.shape, 255)
    pictures = [
        Image.fromarray(object_),
        Image.fromarray(object_.astype(np.uint16) * 65535),
        bands(full, white),
        bands(white, white),
        bands(white, white, white),
        bands(white, 0 * white, 0 * white),  # painted in red
        bands(white, white, white, full),
        indexed(~object_, 255, 0),
        indexed(object_ + 1, 77, 0, 255),
        *(Image.fromarray((object_ * value).astype(np.uint8)) for value in (1, 100, 254)),
        Image.fromarray(np.where(object_, 253, 2).astype(np.uint8)),
    ]
    for picture in pictures:
        picture.save(tmp_path / "m.png")
        assert same(read_own_mask(tmp_path / "m.png"), object_)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_mask_of_one_colour_is_that_colour(tmp_path, value, kind):
    Image.new("L", (16, 12), value).save(tmp_path / "m.png", format=kind)
    assert (read_own_mask(tmp_path / "m.png") == (value > 0)).all()


def test_soft_edges_of_a_mask_are_cut_at_half(tmp_path):
    rows, columns = np.ogrid[:60, :80]
    reach = 20 - np.hypot(rows - 30, columns - 40)
    soft = np.clip(reach * 60 + 127, 0, 255)
    for picture in (Image.fromarray(soft.astype(np.uint8)), bands(np.full((60, 80), 255), soft)):
        picture.save(tmp_path / "m.png")
        assert (read_own_mask(tmp_path / "m.png") == (soft.astype(np.uint8) > 127)).all()


def test_an_index_without_a_colour_is_refused(written):
    content = written.read_bytes()
    start = content.index(b"PLTE")
    short = b"PLTE" + content[start + 4 : start + 4 + 9]  # three colours
    chunk = struct.pack(">I", 9) + short + struct.pack(">I", zlib.crc32(short))
    written.write_bytes(content[: start - 4] + chunk + content[start + 4 + 768 + 4 :])
    with pytest.raises(FcpError, match="#ffffff is the colour of no class"):
        read_own_labels(written)
