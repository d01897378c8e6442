"""Shapes of one class on one picture become one example; the most exact kind counts."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from fcp.data.prompts import Box, Points, Scribble, annotation_mask, read_support
from fcp.data.turns import turn_array
from fcp.errors import FcpError
from fcp.formats.examples import REACHES_OUT, DrawnPicture, Example, examples_by_class, inside
from fcp.formats.reading import Reading
from fcp.formats.run_lengths import to_runs

SIZE = (30, 40)
AREA = np.zeros(SIZE, bool)
AREA[3:9, 4:9] = True
OTHER = np.roll(AREA, 12, axis=1)
BOX, LINE = Box(1, 2, 10, 12), Scribble([(20, 20), (30, 25)])
POINT, MORE = Points([(5.0, 5.0)]), Points([(35.0, 25.0), (6.0, 6.0)])


def one(*drawings):
    picture = DrawnPicture(Path("a.png"), SIZE, Path("a.json"), [("cat", d) for d in drawings])
    ((name, (example,)),) = examples_by_class([picture]).items()
    assert (name, example.picture) == ("cat", Path("a.png"))
    return example.annotation


def mask_of(drawn):
    return annotation_mask(drawn, SIZE)


def test_kinds_in_their_order():
    everything = [POINT, LINE, BOX, to_runs(AREA), to_runs(OTHER)]
    assert (one(*everything) == (AREA | OTHER)).all()
    assert (
        one(POINT, LINE, BOX, Box(20, 20, 30, 30)) == mask_of(BOX) | mask_of(Box(20, 20, 30, 30))
    ).all()
    assert (one(POINT, LINE) == mask_of(POINT) | mask_of(LINE)).all()
    assert one(POINT, MORE) == Points([(5.0, 5.0), (35.0, 25.0), (6.0, 6.0)])


def test_marks_are_kept_and_areas_have_none():
    def given(*drawings, turn=1):
        on = DrawnPicture(Path("a.png"), SIZE, Path("a.json"), [("c", d) for d in drawings], turn)
        return examples_by_class([on])["c"][0].given

    assert (given(POINT, BOX, to_runs(AREA)) == AREA).all()
    assert given(POINT, BOX, Box(20, 20, 30, 30)) == (BOX, Box(20, 20, 30, 30))
    assert given(POINT, LINE, MORE) == (POINT, LINE, MORE)
    for turn in range(2, 9):
        (box,), (line,) = given(BOX, turn=turn), given(LINE, turn=turn)
        upright = turn_array(mask_of(BOX), turn)
        assert (annotation_mask(box, upright.shape) == upright).all()
        assert type(line) is Scribble
        turned = turn_array(mask_of(LINE), turn)  # Pillow draws a line to the pixel
        assert not (annotation_mask(line, turned.shape) & ~binary_dilation(turned)).any()


@pytest.mark.parametrize(
    ("box", "noted"),
    [
        (Box(0, 0, 40, 30), False),
        (Box(-1, -1, 41, 31), False),
        (Box(30, 5, 41.1, 9), True),
        (Box(3, 5, 9, 31.1), True),
        (Box(-1.1, 5, 9, 9), True),
        (Box(3, -1.1, 9, 9), True),
    ],
)
def test_boxes_beyond_their_picture_are_noted(box, noted):
    reading = Reading()
    on = DrawnPicture(Path("a.png"), SIZE, Path("x.json"), [("cat", BOX), ("cat", box)])
    examples_by_class([on], reading=reading)
    assert (REACHES_OUT in [note.text for note in reading.notes]) == noted
    above = Reading()
    more = [*on.drawings, ("cat", to_runs(AREA))]
    examples_by_class([DrawnPicture(on.picture, SIZE, on.source, more)], reading=above)
    assert REACHES_OUT not in [note.text for note in above.notes]


def test_classes_come_in_their_order_and_only_with_examples():
    pictures = [
        DrawnPicture(Path(f"{i}.png"), SIZE, Path("a.json"), [(name, BOX) for name in names])
        for i, names in enumerate([["z", "b", "z"], ["a"], [], ["b", "a"]])
    ]
    found = examples_by_class(pictures, ["unused", "a"])
    assert {name: [e.picture.stem for e in found[name]] for name in found} == {
        "a": ["1", "3"],
        "z": ["0"],
        "b": ["0", "3"],
    }
    assert list(found) == ["a", "z", "b"]


def test_an_example_is_read_like_any_other(write):
    file = write("a.png", SIZE)
    assert (read_support(file, Example(file, to_runs(AREA)).annotation)[1] == AREA).all()
    assert (read_support(file, Example(file, MORE).annotation)[1] == mask_of(MORE)).all()
    assert Example(file, file).annotation == file


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (to_runs(np.zeros(SIZE, bool)), "covers no pixel"),
        (Box(50, 50, 60, 60), "holds no pixel"),
        (Points([(41, 3)]), "lies outside"),
        (Scribble([(1, 1), (1, -1)]), "lies outside"),
    ],
)
def test_drawings_that_cover_nothing(drawn, message):
    with pytest.raises(FcpError, match=rf"a\.json: class 'cat': .*{message}"):
        one(drawn)


def test_a_class_needs_a_name():
    picture = DrawnPicture(Path("a.png"), SIZE, Path("a.json"), [(" ", BOX)])
    with pytest.raises(FcpError, match=r"a\.json: class '': a class needs a name"):
        examples_by_class([picture])


def test_points_less_than_a_pixel_outside_belong_to_the_pixel_beside_them():
    near = [(40, 30), (0, 0), (40.9, 12), (-0.9, -0.5)]
    assert inside(near, SIZE) == ((39.5, 29.5), (0, 0), (39.5, 12), (0, 0))
    far = ((41, 12), (-1, 30.9), (12, -2))
    assert inside(far, SIZE) == ((41, 12), (-1, 29.5), (12, -2))
