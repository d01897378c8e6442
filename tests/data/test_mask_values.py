"""Masks: ids stay ids, soft edges are cut at half, and what hardly anybody means is said."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter

from fcp.data.images import look_at_mask, picture_of, read_labels
from fcp.data.mask_values import (
    SEVERAL,
    foreground,
    of_bands,
    of_palette,
    trimap_object,
    without_transparent,
)
from fcp.errors import FcpError

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


def test_colours_are_said_and_one_colour_is_not(disc):
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[disc] = (255, 0, 0)
    assert foreground(mask)[1] == []
    mask[100:110, 10:30] = (0, 255, 0)  # as bright, of another class
    found, notes = foreground(mask)
    assert (found == mask.any(axis=2)).all()
    assert notes == [SEVERAL]


@pytest.mark.parametrize(("size", "told"), [((1, 1), True), ((2, 2), True), ((1, 5), False)])
def test_a_mask_of_a_few_pixels_is_called_into_question(size, told):
    mask = np.zeros((30, 40), np.uint8)
    mask[4 : 4 + size[0], 7 : 7 + size[1]] = 255
    found, notes = look_at_mask(mask, mask.shape)
    assert (found == (mask > 0)).all()
    assert notes == [f"the mask covers {found.sum()} px alone; is it a stray click?"] * told
    assert look_at_mask(np.full((2, 2), 255, np.uint8), (2, 2))[1] != notes


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("one", "other"), [((255, 0, 0), (255,) * 3), ((255, 0, 0), (0, 0, 255))])
def test_colours_without_black_are_refused(disc, tmp_path, one, other, alpha):
    drawn = np.where(disc[..., None], one, other).astype(np.uint8)
    if alpha:
        drawn = np.dstack([drawn, np.full(disc.shape, 255, np.uint8)])
    Image.fromarray(drawn).save(tmp_path / "a.png")
    colours = {"#{:02x}{:02x}{:02x}".format(*colour) for colour in (one, other)}
    with pytest.raises(FcpError, match=r"a\.png: a mask in the colours .*paint what is") as caught:
        look_at_mask(tmp_path / "a.png", disc.shape)
    assert all(colour in str(caught.value) for colour in colours)
    drawn[~disc, :3] = 0
    assert (look_at_mask(drawn, disc.shape)[0] == disc).all()
    drawn[:, :, :3] = one
    assert look_at_mask(drawn, disc.shape)[0].all()


@pytest.mark.parametrize("bands", [2, 4])
def test_a_black_mask_is_its_transparency(disc, bands):
    mask = np.zeros((*SIZE, bands), np.uint8)
    mask[disc, -1] = 255
    assert (foreground(mask)[0] == disc).all()
    mask[..., -1] = 255
    assert not foreground(mask)[0].any()


def test_palettes_that_contradict_their_indices(disc):
    indices = disc.astype(np.uint8)
    black, white, red = (0, 0, 0), (255, 255, 255), (255, 0, 0)

    def read(values, *colours):
        return of_palette(values, np.array(colours, np.uint8), "m.png")

    assert (read(indices, black, white)[0] == indices).all()
    assert (read(indices, black, black)[0] == indices).all()
    assert (read(indices, white, red)[0] == indices).all()
    values, notes = read(1 - indices, white, black)
    assert (values == disc).all()
    assert notes == ["the palette's white is the object, and its black is not"]
    assert (read(indices + 1, red, black, white)[0] == disc).all()
    with pytest.raises(
        FcpError, match=r"m\.png: its palette shows the value 0 in a colour and 1 as"
    ):
        read(indices, red, black)
    values, notes = read(indices + 1, red, black, red)  # nothing is shown in the colour of 0
    assert ((values > 0) == disc).all()
    assert notes == ["no pixel has the value 0, and the palette's black is the background"]


def test_indexed_files_are_read_by_colour_where_they_contradict(disc, tmp_path):
    for suffix in ("png", "gif"):
        picture = Image.fromarray((~disc).astype(np.uint8))
        picture.putpalette([255, 255, 255, 0, 0, 0])
        picture.save(tmp_path / f"m.{suffix}")
        assert (look_at_mask(tmp_path / f"m.{suffix}", SIZE)[0] == disc).all()


def test_bands_that_are_masks_of_their_own(disc, tmp_path):
    for bands in (2, 4):
        values = np.stack([disc, *[~disc] * (bands - 1)], axis=2).astype(np.uint8)
        tifffile.imwrite(
            tmp_path / "m.tif", values, photometric="minisblack", planarconfig="contig"
        )
        with pytest.raises(
            FcpError, match=rf"m\.tif: holds {bands} bands; save the mask of one obj"
        ):
            look_at_mask(tmp_path / "m.tif", SIZE)
    assert of_bands(np.zeros((*SIZE, 1)), "m", alpha=False).shape == SIZE


def test_further_pages_of_a_mask_are_said(disc, tmp_path):
    pages = np.stack([disc, ~disc]).astype(np.uint8) * 255
    tifffile.imwrite(tmp_path / "m.tif", pages, photometric="minisblack")
    mask, notes = look_at_mask(tmp_path / "m.tif", SIZE)
    assert (mask == disc).all()
    assert notes == ["page 1 of 2 is read, the largest"]


def test_probabilities_and_negative_numbers(disc):
    mask, notes = foreground(np.where(disc, 0.9, 0.1).astype(np.float32))
    assert (mask == disc).all()
    assert notes == ["the mask has fractions: its greys are cut at half"]
    rows = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE)
    assert (foreground(rows)[0] == (rows > 0.5)).all()
    mask, notes = foreground(np.where(disc, 5, -1))
    assert (mask == disc).all()
    assert notes == ["the mask has negative values (-1), which are no object"]
    assert (foreground(np.where(disc, -1, 0))[0] == disc).all()  # every bit set


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (lambda reach: reach, "negative values: what is above 0 is the object"),
        (np.tanh, "negative values: what is above 0 is the object"),
        (lambda reach: np.round(reach * 3).astype(np.int16), "negative values: what is above 0"),
        (lambda reach: np.where(reach > 0, 3 + reach / 10, -2), "negative values: what is above"),
        (lambda reach: np.where(reach > 0, np.inf, -np.inf), "negative values: what is above 0"),
        # One number for "nothing here" beside shares.
        (lambda reach: np.where(reach > 0, 0.9, np.where(reach < -50, -9999, 0.1)), "fractions"),
    ],
)
def test_scores_are_cut_at_zero_and_shares_at_half(numbers, told):
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    reach = 40.3 - np.hypot(rows - 60, columns - 80)
    mask, notes = foreground(numbers(reach))
    assert iou(mask, reach > 0) > 0.99
    assert told in " ".join(notes)


def test_the_ringing_of_a_resized_mask_is_no_score(disc):
    small = Image.fromarray(disc.astype(np.float32)).resize((40, 30), Image.Resampling.BOX)
    large = np.asarray(small.resize(SIZE[::-1], Image.Resampling.BICUBIC))
    assert large.min() < -0.01
    mask, notes = foreground(large)
    assert (mask == (large > large.max() / 2)).all()
    assert notes[1] == "the mask has fractions: its greys are cut at half"


def test_what_a_palette_shows_as_transparent_is_no_object(disc):
    black, white, red = (0, 0, 0), (255, 255, 255), (255, 0, 0)

    def read(values, hidden, *colours):
        alpha = np.where(np.arange(256) == hidden, 0, 255).astype(np.uint8)
        found, notes = without_transparent(values, np.array(colours, np.uint8), alpha)
        assert notes in ([], ["what its palette shows as transparent is no object"])
        return found > 0, bool(notes)

    indices = (~disc).astype(np.uint8)
    for colour in (red, black, white):
        found, is_said = read(indices, 1, colour, white)
        assert (found == disc).all()
        assert is_said
    assert not read(indices, 7, red, white)[1]  # no pixel is transparent
    assert not read(disc.astype(np.uint8), 0, black, red)[1]  # as the indices say
    assert (read(disc.astype(np.uint8), 0, white, black)[0] == disc).all()
    erased = np.where(np.arange(SIZE[1]) < 80, 2, disc).astype(np.uint8)
    assert (read(erased, 2, black, white, white)[0] == (erased == 1)).all()


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_masks_for_print(disc, tmp_path, suffix):
    white = Image.fromarray(disc.astype(np.uint8) * 255).convert("RGB")
    white.convert("CMYK").save(tmp_path / f"m.{suffix}")
    assert iou(look_at_mask(tmp_path / f"m.{suffix}", SIZE)[0], disc) >= 0.98


def test_a_jpeg_of_zero_and_one_is_lost(disc):
    with pytest.raises(FcpError, match="m: its format changes small values; save it as PNG"):
        look_at_mask(stored(Image.fromarray(disc.astype(np.uint8)), "JPEG"), SIZE)


@pytest.mark.parametrize("shown", [0, 1])
def test_fax_compression_shows_what_is_meant(disc, tmp_path, shown):
    file = tmp_path / "m.tif"
    Image.fromarray(disc).save(file, compression="group4", tiffinfo={262: shown})
    assert tifffile.TiffFile(file).pages[0].photometric == shown
    assert (look_at_mask(file, SIZE)[0] == disc).all()


def test_other_values_are_no_trimap(disc):
    assert trimap_object(disc.astype(np.uint8)) is None
    assert trimap_object(np.full(SIZE, 2, np.uint8)) is None
    assert trimap_object(np.zeros((*SIZE, 3), np.uint8)) is None
