"""What was found is checked where it is made."""

import json
from pathlib import Path

import numpy as np
import pytest

from fcp.formats.records import LabelledObject, LabelledPicture

MASK = np.ones((3, 4), bool)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("", MASK), "no name"),
        (("cat", MASK.astype(np.uint8)), "uint8 .* is no mask"),
        (("cat", MASK[0]), "is no mask"),
        (("cat", MASK, float("nan")), "nan is no number"),
    ],
)
def test_objects_that_no_format_can_say(values, message):
    with pytest.raises(ValueError, match=message):
        LabelledObject(*values)


def test_pictures_and_their_masks_have_one_size():
    thing = LabelledObject("cat", MASK, 0.5)
    picture = LabelledPicture(Path("a.jpg"), "a", (3, 4), (thing, thing))
    assert picture.objects == (thing, thing)
    with pytest.raises(ValueError, match=r"masks of .*3, 4.* in a picture of \(4, 3\)"):
        LabelledPicture(Path("a.jpg"), "a", (4, 3), (thing,))


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/", "a/./b", "a/../b", "../a"])
def test_names_stay_in_their_folder(name):
    with pytest.raises(ValueError, match="no name for a file"):
        LabelledPicture(Path("a.jpg"), name, (3, 4), ())


def test_a_score_of_numpy_is_a_number_of_json():
    found = LabelledObject("cat", np.ones((2, 3), bool), np.float32(0.5))
    assert json.dumps(found.score) == "0.5"
