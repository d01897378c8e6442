"""The hold-out of base classes: what it asks, and what it says of pictures that are trained on."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fcp.data.class_folders import ClassFolders
from fcp.data.pascal import PascalVOC
from fcp.engine.holdout import base_class_holdout


@pytest.fixture
def classes(tmp_path):
    """Return a folder of two classes of three pictures."""
    for name in ("cat", "dog"):
        for folder in ("images", "masks"):
            (tmp_path / name / folder).mkdir(parents=True)
            for number in range(3):
                picture = np.full((8, 8), 255, np.uint8)
                Image.fromarray(picture).save(tmp_path / name / folder / f"{number}.png")
    return ClassFolders(tmp_path)


def lines_of(data, fold):
    lines = []
    base_class_holdout(
        SimpleNamespace(fold=fold, seed=0, holdout_every=1, holdout_episodes=2),
        data,
        image_size=8,
        predictor=lambda: None,
        save=lambda: None,
        report=lines.append,
    )
    return lines


def test_a_hold_out_of_training_pictures_is_told_in_one_line(classes):
    (line,) = lines_of(classes, None)
    assert line.startswith("hold-out: 6 of its 6 pictures are trained on, too; ")


def test_val_pictures_are_no_training_pictures(mini_voc):
    assert lines_of(PascalVOC(mini_voc), 0) == []
