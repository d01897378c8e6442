"""Pictures with things of every awkward kind in them, and what was found there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcp.formats.records import LabelledObject, LabelledPicture

SIZE = (30, 40)
# Names that XML, YAML and JSON could stumble over.
CLASSES = ["no", "a & <b> \"c\" 'd'", "ключ: значение", "1", "- {x}: #y\tz"]


def painted(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Return a mask with these (top, left, bottom, right) turned over, one after the other."""
    mask = np.zeros(SIZE, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] ^= True
    return mask


@pytest.fixture
def classes() -> list[str]:
    """Return the names of the classes of what was found, in the order of their ids."""
    return CLASSES


@pytest.fixture
def found(tmp_path: Path) -> list[LabelledPicture]:
    """Return two pictures with all that was found, in folders of their own, and an empty one."""
    things = [
        # A frame with an island in its hole, and another part at the border.
        (0, painted((2, 2, 16, 20), (5, 5, 13, 17), (8, 8, 11, 12), (20, 30, 30, 40)), 0.5),
        (1, painted((0, 0, 1, 1)), 0.25),  # one pixel, in the corner
        (2, painted((0, 0, 30, 40)), 0.125),
        (0, painted((25, 0, 30, 3)), None),
        (3, painted(), 0.75),  # nothing: written nowhere
    ]
    objects = [LabelledObject(CLASSES[i], mask, score) for i, mask, score in things]
    pictures = {"a/å b.png": objects, "b/å b.png": objects[:1], "b/empty.png": []}
    records = []
    for index, (name, its_objects) in enumerate(pictures.items()):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE[1], SIZE[0]), (index, 0, 0)).save(file)
        stem = f"{file.stem}_{index}" if index else file.stem
        records.append(LabelledPicture(file, stem, SIZE, tuple(its_objects)))
    return records


@pytest.fixture
def masks_of() -> Callable[[LabelledPicture], dict[str, np.ndarray]]:
    """Return what joins the objects of each class in a picture."""

    def join(picture: LabelledPicture) -> dict[str, np.ndarray]:
        joined: dict[str, np.ndarray] = {}
        for thing in picture.objects:
            if thing.mask.any():
                joined[thing.class_name] = joined.get(thing.class_name, False) | thing.mask
        return joined

    return join


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a file below the test's folder: text, bytes, or a grey picture's size."""

    def write_file(name: str, content: str | bytes | tuple[int, int]) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, tuple):
            Image.new("L", (content[1], content[0])).save(file)
        else:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write_file
