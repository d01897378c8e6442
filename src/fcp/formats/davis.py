"""DAVIS: a palette PNG of object ids for each frame, ``Annotations/CLIP/00000.png``.

Class i (from 0) has the value i + 1 in all frames. Frames are numbered from 0. A pixel is of one
object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from fcp.data.images import palette_png
from fcp.errors import FcpError
from fcp.formats.label_maps import paint
from fcp.formats.records import LabelledPicture
from fcp.formats.writer import Writer
from fcp.system.files import write_beside

FOLDER = "Annotations"
MOST = 255  # values of a palette PNG beside the background
_NAMED = (
    (0, 0, 0),
    *((128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)),
    *((128, 128, 128), (64, 0, 0), (191, 0, 0), (64, 128, 0), (191, 128, 0), (64, 0, 128)),
    *((191, 0, 128), (64, 128, 128), (191, 128, 128), (0, 64, 0), (128, 64, 0), (0, 191, 0)),
    *((128, 191, 0), (0, 64, 128), (128, 64, 128)),
)


def davis_palette() -> np.ndarray:
    """Return DAVIS's colour of each value, (256, 3) uint8: 22 colours, then greys."""
    colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    colours[: len(_NAMED)] = _NAMED
    return colours


class DavisWriter(Writer):
    """Writer of ``Annotations/NAME.png``; NAME is CLIP/00000 and so on for a film."""

    needs_pictures: ClassVar[bool] = False

    def __init__(self, out: Path, class_names: Sequence[str]) -> None:
        super().__init__(out, class_names)
        if len(class_names) > MOST:
            raise FcpError(f"--format davis: holds at most {MOST} classes, got {len(class_names)}")

    @classmethod
    def files_of(cls, names: Iterable[str]) -> Iterator[str]:
        """Yield one file for each frame; see ``Writer``."""
        return (f"{FOLDER}/{name}.png" for name in names)

    def close(self) -> None:
        """Do nothing: there is no common file."""

    def _add(self, picture: LabelledPicture) -> None:
        file = self.out / FOLDER / f"{picture.name}.png"
        write_beside(file, palette_png(paint(picture, self.class_ids), davis_palette()))
