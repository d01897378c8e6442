"""LVIS-92i (Matcher, arXiv 2305.13310): the many classes of LVIS v1, in ten folds.

The paper has 920 classes in ten equal folds. Here they are those that at least two val pictures
show, and fold i tests every tenth of them from the i-th on, in the order of LVIS's category ids, as
COCO-20i does with four folds. LVIS names no class exhaustively in every picture: where it stands in
``not_exhaustive_category_ids`` of a picture, some of its objects have no mask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from fcp.data.coco import Coco, areas_of_split
from fcp.data.coco_index import LVIS_LAYOUT, Layout
from fcp.errors import FcpError

FOLDS = 10
WHOLE = 920  # classes of the paper
_LEAST_PICTURES = 2


@dataclass(frozen=True)
class Lvis(Coco):
    """LVIS v1 on COCO's pictures of 2017 under ``COCO/`` of the data root.

    A class id counts LVIS's categories in the order of their ids, also those that are left out.

    Attributes:
        root: Data root; ``LVIS/`` in it holds lvis92i.sqlite, or ``annotations/`` with
            lvis_v1_val.json.
    """

    layout: ClassVar[Layout] = LVIS_LAYOUT
    title = "LVIS-92i (masks from LVIS v1's JSON)"
    min_pixels = 1
    folds: ClassVar[tuple[int | None, ...]] = tuple(range(FOLDS))

    @property
    def classes(self) -> Mapping[int, str]:
        """Class id → LVIS's name, for the classes that at least two val pictures show."""
        return _classes(self)

    def novel(self, fold: int | None) -> tuple[int, ...]:
        """Return the class ids that a fold tests; none for no fold.

        Raises:
            FcpError: no such fold.
        """
        if fold is None:
            return ()
        if fold not in self.folds:
            raise FcpError(f"fold: expected 0 … {FOLDS - 1}, got {fold!r}")
        return tuple(self.classes)[fold::FOLDS]


@lru_cache(maxsize=8)
def _classes(data: Lvis) -> Mapping[int, str]:
    shown = Counter(c for pixels in areas_of_split(data, "val").values() for c in pixels)
    names = super(Lvis, data).classes
    return {c: name for c, name in names.items() if shown[c] >= _LEAST_PICTURES}
