"""Pictures of masks and maps, checked pixel by pixel on small ones."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from fcp.visualize import contact_sheet, encode, heatmap, overlay, thumbnail

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


def test_thumbnail_keeps_the_aspect_and_never_enlarges():
    assert thumbnail(np.zeros((100, 400, 3), np.uint8), 40).shape == (10, 40, 3)
    assert thumbnail(GREY, 999).shape == GREY.shape


def test_contact_sheet_holds_every_picture():
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (9, 9, 9)]]
    rows = [[np.full((20, 30, 3), c, np.uint8) for c in row] for row in colours]
    sheet = contact_sheet(rows, ("one", "two"), cell=40)
    for colour in (c for row in colours for c in row):
        assert (sheet == colour).all(axis=2).sum() >= 20 * 30
