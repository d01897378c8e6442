"""Label maps of fcp, saved again by other programs: the colours that a person sees decide."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import fcp.data.images
from fcp.data.images import label_png, palette_png, voc_palette
from fcp.data.own_labels import read_own_labels
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
    monkeypatch.setattr(fcp.data.images, "LARGE_MASK", 1)
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


def test_an_index_without_a_colour_is_refused(written):
    content = written.read_bytes()
    start = content.index(b"PLTE")
    short = b"PLTE" + content[start + 4 : start + 4 + 9]  # three colours
    chunk = struct.pack(">I", 9) + short + struct.pack(">I", zlib.crc32(short))
    written.write_bytes(content[: start - 4] + chunk + content[start + 4 + 768 + 4 :])
    with pytest.raises(FcpError, match="#ffffff is the colour of no class"):
        read_own_labels(written)
