"""Pages of a file: pictures of their own, or thumbnails and masks of another page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tifffile

_NO_PICTURE = 1 | 4  # bits of NewSubfileType: a copy of reduced resolution, a transparency mask


@dataclass(frozen=True)
class Pages:
    """The pages of a TIFF or the frames of an animation; one of any other picture.

    Attributes:
        count: Number of all pages.
        pictures: Numbers, from 1, of the pages that are pictures of their own (no masks, no
            thumbnails).
    """

    count: int = 1
    pictures: tuple[int, ...] = (1,)


def own_pictures(file: tifffile.TiffFile) -> list[int]:
    """Return the pages of a TIFF that are pictures of their own, from 1, at least one.

    Other pages are those that the file marks as a mask or as a copy of reduced resolution, and
    those with both sides at most half of the largest page's.
    """
    sizes = _sizes(file)
    height, width = sizes[_largest(sizes)]
    return [n for n, (high, wide) in sizes.items() if 2 * high > height or 2 * wide > width]


def largest_page(file: tifffile.TiffFile) -> int:
    """Return the number, from 1, of the page of a TIFF that is read by default: the largest."""
    return _largest(_sizes(file))


def _largest(sizes: Mapping[int, tuple[int, int]]) -> int:
    return max(sizes, key=lambda number: sizes[number][0] * sizes[number][1])


def _sizes(file: tifffile.TiffFile) -> dict[int, tuple[int, int]]:
    """Return page → size (H, W), without pages that the file marks as thumbnail or mask."""
    pages = {number: page.aspage() for number, page in enumerate(file.pages, start=1)}
    named = {n: page for n, page in pages.items() if not page.subfiletype & _NO_PICTURE}
    return {n: (page.imagelength, page.imagewidth) for n, page in (named or pages).items()}
