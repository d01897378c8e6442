"""Pictures of masks and maps, checked pixel by pixel on small ones."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from fcp.visualize import (
    PALETTE,
    class_colours,
    contact_sheet,
    encode,
    heatmap,
    overlay,
    overlay_labels,
    thumbnail,
)

GREY = np.full((12, 16, 3), 100, dtype=np.uint8)


def box():
    mask = np.zeros((12, 16), dtype=bool)
    mask[2:10, 3:13] = True
    return mask


def test_overlay_tints_the_inside_and_draws_the_edge():
    before = GREY.copy()
    result = overlay(GREY, box(), colour=(200, 0, 0), alpha=0.5, outline=1)
    assert (GREY == before).all()
    assert (result[~box()] == 100).all()
    inside = ndimage.binary_erosion(box())
    assert (result[inside] == (150, 50, 50)).all()
    assert (result[box() & ~inside] == (200, 0, 0)).all()


@pytest.mark.parametrize("outline", [0, 1, 3])
def test_outline_has_its_width_inside_the_mask(outline):
    result = overlay(GREY, box(), colour=(255, 255, 255), alpha=0, outline=outline)
    kept = ndimage.binary_erosion(box(), iterations=outline) if outline else box()
    assert ((result == 255).all(axis=2) == (box() & ~kept)).all()


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks(value):
    result = overlay(GREY, np.full((12, 16), value), alpha=0.5)
    assert (result == GREY).all() != value


def test_overlay_refuses_a_mask_of_another_size():
    with pytest.raises(ValueError, match="does not fit"):
        overlay(GREY, np.zeros((3, 3), bool))


def test_labels_are_overlays_one_after_the_other():
    labels = box().astype(np.uint8)
    labels[:, 8:] *= 3
    colours = [(200, 0, 0), (9, 9, 9), (0, 0, 200)]
    before = GREY.copy()
    result = overlay_labels(GREY, labels, colours, alpha=0.5, outline=1)
    first = overlay(GREY, labels == 1, colour=colours[0], alpha=0.5, outline=1)
    assert (GREY == before).all()
    assert (result == overlay(first, labels == 3, colour=colours[2], alpha=0.5, outline=1)).all()
    assert (overlay_labels(GREY, np.zeros_like(labels), colours) == GREY).all()


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_colour_is_refused(label):
    with pytest.raises(ValueError, match=f"label {label} has none of 1 colours"):
        overlay_labels(GREY, box() * label, [(1, 2, 3)])


def test_classes_take_their_colours_in_order_and_start_again():
    names = [f"class {n}" for n in range(len(PALETTE) + 1)]
    colours = class_colours(names)
    assert tuple(colours.values()) == (*PALETTE, PALETTE[0])
    assert list(colours) == names


# Machado, Oliveira & Fernandes 2009, severity 1: linear RGB as seen without one kind of cone.
SIGHTS = {
    "normal": np.eye(3),
    "red-blind": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "green-blind": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "blue-blind": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def oklab(linear):
    """Colours in linear RGB → OKLab (Ottosson 2020), where distances are as they look."""
    cones = linear @ np.transpose(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.transpose(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(("count", "least"), [(7, 0.09), (len(PALETTE), 0.05)])
def test_colours_of_classes_differ_for_everyone(sight, count, least):
    shares = np.array(PALETTE[:count]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    seen = oklab(np.clip(linear @ np.transpose(SIGHTS[sight]), 0, 1))
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    assert distances[~np.eye(count, dtype=bool)].min() > least


@given(st.lists(st.floats(-1, 2), min_size=2, max_size=9).map(sorted))
def test_heat_grows_brighter_with_the_value(values):
    colours = heatmap(np.array([values]))[0].astype(float)
    brightness = colours @ (0.299, 0.587, 0.114)
    assert (np.diff(brightness) >= -1).all()


def test_heatmap_lies_over_its_picture():
    values = np.linspace(0, 1, 12 * 16).reshape(12, 16)
    assert (heatmap(values, GREY, alpha=0) == 100).all()
    assert (heatmap(values, GREY, alpha=1) == heatmap(values)).all()


def test_masks_are_written_as_0_and_255():
    image = Image.open(io.BytesIO(encode(box(), "png")))
    assert image.format == "PNG"
    assert image.mode == "L"
    assert (np.asarray(image) == np.where(box(), 255, 0)).all()


def test_jpeg_is_close_to_what_was_given():
    image = Image.open(io.BytesIO(encode(GREY, "jpeg")))
    assert image.format == "JPEG"
    assert np.abs(np.asarray(image).astype(int) - 100).max() <= 2


def test_a_lower_quality_makes_a_smaller_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode(noise, "jpeg", quality=50)) < len(encode(noise, "jpeg"))


def test_thumbnail_keeps_the_aspect_and_never_enlarges():
    assert thumbnail(np.zeros((100, 400, 3), np.uint8), 40).shape == (10, 40, 3)
    assert thumbnail(GREY, 999).shape == GREY.shape


def test_contact_sheet_holds_every_picture():
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (9, 9, 9)]]
    rows = [[np.full((20, 30, 3), c, np.uint8) for c in row] for row in colours]
    sheet = contact_sheet(rows, ("one", "two"), cell=40)
    for colour in (c for row in colours for c in row):
        assert (sheet == colour).all(axis=2).sum() >= 20 * 30


@pytest.mark.parametrize("value", [1, 255, 0.5])
def test_a_mask_of_numbers_is_nonzero_where_the_object_is(value):
    image, mask = np.full((30, 40, 3), 90, np.uint8), np.zeros((30, 40), bool)
    mask[5:20, 8:30] = True
    numbers = mask * np.array(value, np.uint8 if value >= 1 else np.float32)
    np.testing.assert_array_equal(overlay(image, numbers), overlay(image, mask))
