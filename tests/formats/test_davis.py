"""Annotations in DAVIS's layout, read back by Pillow."""

import numpy as np
import pytest
from PIL import Image

from fcp.errors import FcpError
from fcp.formats.davis import DavisWriter, davis_palette
from fcp.formats.records import LabelledObject, LabelledPicture


def test_values_and_colours_come_back(tmp_path):
    cat, dog = np.zeros((2, 20, 30), bool)
    cat[2:9, 3:20] = dog[6:15, 10:25] = True
    objects = (LabelledObject("cat", cat, 0.5), LabelledObject("dog", dog, 0.9))
    with DavisWriter(tmp_path, ["cat", "dog"]) as writer:
        writer.add(LabelledPicture(tmp_path / "film.mp4", "film/00007", (20, 30), objects))
    with Image.open(tmp_path / "Annotations/film/00007.png") as read:
        assert read.mode == "P"
        values, colours = np.asarray(read), np.asarray(read.convert("RGB"))
    np.testing.assert_array_equal(values, np.where(dog, 2, np.where(cat, 1, 0)))
    np.testing.assert_array_equal(colours, davis_palette()[values])
    assert [p.name for p in tmp_path.iterdir()] == ["Annotations"]


def test_the_palette_has_22_colours_and_then_greys():
    palette = davis_palette()
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[9].tolist() == [191, 0, 0]
    assert (palette[22:] == np.arange(22, 256)[:, None]).all()
    assert len({tuple(colour) for colour in palette}) > 250


def test_more_classes_than_values_are_refused(tmp_path):
    with pytest.raises(FcpError, match="at most 255 classes, got 256"):
        DavisWriter(tmp_path, [f"c{number}" for number in range(256)])
