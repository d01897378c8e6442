"""Layers of the drawing → masks, boxes and points at the picture's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fcp.app.marks import (
    Marked,
    by_class,
    clean_class_name,
    example_on,
    painted,
)
from fcp.data.prompts import Box, Points
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.formats.run_lengths import to_runs


def layer(mask: np.ndarray) -> np.ndarray:
    """Return an RGBA layer as the brush leaves it."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = (230, 40, 60, 153)
    return pixels


def blob(*boxes: tuple[int, int, int, int], size=(40, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def drawn(layers, kind, size):
    """Return the example that is drawn on a.png."""
    example = example_on(Path("a.png"), layers, kind, size)
    assert example.picture == Path("a.png")
    return example


def test_paint_is_the_mask():
    mask = blob((5, 5, 20, 20))
    example = drawn([layer(mask)], "paint", (40, 60))
    assert (example.annotation == mask).all()
    assert (example.given == mask).all()


def test_paint_grows_with_the_picture_and_keeps_its_share():
    mask = blob((6, 4, 30, 20))
    large = drawn([layer(mask)], "paint", (80, 120)).annotation
    assert (large == mask.repeat(2, axis=0).repeat(2, axis=1)).all()


def test_faint_edges_do_not_count():
    faint = layer(blob((5, 5, 9, 9)))
    faint[..., 3] = np.minimum(faint[..., 3], 40)
    with pytest.raises(FcpError, match="nothing is marked"):
        drawn([faint], "paint", (40, 60))


def test_outline_is_filled_and_an_open_one_counts_as_paint():
    ring = blob((5, 5, 25, 25)) & ~blob((8, 8, 22, 22))
    found = drawn([layer(ring)], "outline", (40, 60)).annotation
    assert (found == blob((5, 5, 25, 25))).all()
    line = blob((5, 5, 25, 8))
    assert (drawn([layer(line)], "outline", (40, 60)).annotation == line).all()


def test_box_encloses_all_strokes():
    corners = blob((5, 6, 8, 9), (30, 20, 33, 23))
    found = drawn([layer(corners)], "box", (80, 120))
    assert (found.annotation == blob((10, 12, 66, 46), size=(80, 120))).all()
    assert found.given == (Box(10, 12, 66, 46),)


def test_each_dot_is_a_point_at_its_centre():
    found = drawn([layer(blob((4, 4, 7, 7), (20, 10, 25, 15)))], "click", (80, 120))
    assert found.annotation == Points(((11.0, 11.0), (45.0, 25.0)))
    assert found.given == (found.annotation,)


def test_point_stays_on_a_bent_dot():
    bent = blob((5, 5, 30, 7), (5, 5, 7, 30))
    ((x, y),) = drawn([layer(bent)], "click", (40, 60)).annotation.points
    assert bent[int(y), int(x)]


def test_too_many_clicks_are_told():
    mask = np.zeros((40, 60), bool)
    mask[1:36:5, 1:16:5] = True
    with pytest.raises(FcpError, match="21 points; at most 20"):
        drawn([layer(mask)], "click", (40, 60))


@pytest.mark.parametrize("layers", [[], [None], [np.zeros((4, 4, 4), np.uint8)]])
@pytest.mark.parametrize("kind", ["paint", "outline", "box", "click"])
def test_nothing_drawn_is_told(layers, kind):
    with pytest.raises(FcpError, match="nothing is marked yet"):
        drawn(layers, kind, (4, 4))


def test_layers_are_joined_and_must_be_of_one_size():
    one, other = blob((0, 0, 5, 5)), blob((10, 10, 20, 20))
    assert (painted([layer(one), None, layer(other)]) == (one | other)).all()
    with pytest.raises(FcpError, match="several sizes"):
        painted([layer(one), layer(one[:10])])


def test_class_names_become_one_line():
    assert clean_class_name("  a\tblack\n cat\0 ") == "a black cat"
    with pytest.raises(FcpError, match="name the class"):
        clean_class_name(" \n")
    with pytest.raises(FcpError, match="60 characters"):
        clean_class_name("x" * 61)


def marked(number: int, name: str | None) -> Marked:
    example = Example(Path(f"{number}.png"), to_runs(blob((1, 1, 5, 5))))
    return Marked(number, name, "paint", example, Path("x.jpg"), "x.jpg")


def test_examples_by_class_in_order():
    many = [marked(1, "dog"), marked(2, None), marked(3, "cat"), marked(4, "dog")]
    classes, against = by_class(many)
    assert list(classes) == ["dog", "cat"]
    assert classes["dog"] == [many[0].example, many[3].example]
    assert against == [many[1].example]


def test_negatives_alone_and_nothing_are_told():
    with pytest.raises(FcpError, match="does not say what to find"):
        by_class([marked(1, None)])
    with pytest.raises(FcpError, match="no example yet"):
        by_class([])
