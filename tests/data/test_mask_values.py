"""Masks: ids stay ids, soft edges are cut at half, and what hardly anybody means is said."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fcp.data.images import look_at_mask, picture_of, read_labels
from fcp.data.mask_values import SEVERAL, foreground

SIZE = (120, 160)


@pytest.fixture
def disc():
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - 60) ** 2 + (columns - 80) ** 2 < 40**2


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def stored(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return picture_of(stream.getvalue(), "m")


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_masks(disc, quality, mode):
    hard = Image.fromarray(disc.astype(np.uint8) * 255).convert(mode)
    mask, notes = look_at_mask(stored(hard, "JPEG", quality=quality), SIZE)
    assert iou(mask, disc) >= 0.98
    assert notes == ["the mask has a lossy format: its greys are cut at half"]
    # Saved as PNG afterwards the noise is still there.
    again = stored(stored(hard, "JPEG", quality=quality).convert(mode), "PNG")
    mask, notes = look_at_mask(again, SIZE)
    assert iou(mask, disc) >= 0.98
    assert notes == ["the mask has soft edges: its greys are cut at half"]


@pytest.mark.parametrize("radius", [0.7, 2, 5])
def test_soft_masks(disc, radius):
    soft = Image.fromarray(disc.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(radius))
    white = Image.new("RGBA", soft.size, "white")
    white.putalpha(soft)
    for mask in (soft, white, np.asarray(soft) / 255, np.asarray(soft).astype(np.uint16) * 257):
        found, _ = look_at_mask(mask, SIZE)
        assert iou(found, disc) >= 0.98
    assert look_at_mask(soft, SIZE)[1] == ["the mask has soft edges: its greys are cut at half"]


def test_resized_masks(disc):
    large = Image.fromarray(disc.astype(np.uint8) * 255).resize((640, 480))
    assert iou(look_at_mask(large.resize(SIZE[::-1]), SIZE)[0], disc) >= 0.98


@pytest.mark.parametrize("values", [(1, 2, 3), (38, 75, 113), (1, 255), (10, 128, 250), (85, 170)])
def test_ids_are_all_foreground(values):
    labels = np.zeros(SIZE, np.uint8)
    for index, value in enumerate(values):
        labels[10 + 20 * index : 35 + 20 * index, 20:90] = value
    mask, notes = foreground(labels)
    assert (mask == (labels > 0)).all()
    assert notes == [SEVERAL]
    assert foreground(np.where(labels > 0, 7, 0))[1] == []


def test_ids_with_an_outline(disc):
    """VOC draws its "ignore" around each object."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    labels = np.where((rows - 60) ** 2 + (columns - 80) ** 2 < 43**2, 255, 0)
    labels[disc] = 1
    assert (foreground(labels)[0] == (labels > 0)).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_keep_their_samples(tmp_path, bits):
    labels = np.zeros((6, 8), np.uint8)
    labels[2:4, 3:6] = 1
    file = tmp_path / "m.png"
    file.write_bytes(grey_png(labels, bits))
    assert (read_labels(file) == labels).all()
    assert (look_at_mask(file, (6, 8))[0] == (labels == 1)).all()


def grey_png(labels, bits):
    """Write a grey PNG of few bits by hand: Pillow cannot."""
    import struct
    import zlib

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b""
    for row in labels:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    header = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 0, 0, 0, 0)
    pieces = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + pieces


def test_masks_of_every_pixel(disc):
    full = np.full(SIZE, 255, np.uint8)
    assert foreground(full)[1] == [
        "the mask covers every pixel (its values: 255); 0 is the background"
    ]
    for trimap in (np.where(disc, 1, 2), np.where(disc, 1, np.where(np.arange(160) < 9, 3, 2))):
        (note,) = foreground(trimap.astype(np.uint8))[1]
        assert note.startswith("the mask covers every pixel (its values: 1, 2")
        assert "if it is a trimap (1 object, 2 background, 3 border)" in note
    assert foreground(disc)[1] == []


def test_inverted_masks(disc):
    (note,) = foreground(np.where(disc, 0, 255).astype(np.uint8))[1]
    assert note == (
        "the mask covers 74% of the picture and touches all four edges (its values: 0, 255); "
        "is it inverted?"
    )
