"""Small pictures of photos with the masks of their classes, thousands of which fit in one page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fcp.visualize import Colour, encode, overlay_labels, thumbnail

LONGEST = 256
# With LONGEST, about 10 kB for a photo. A higher quality is not visible at the size of a card.
QUALITY = 70


def class_thumbnail(
    image: np.ndarray, labels: np.ndarray, colours: Sequence[Colour], *, longest: int = LONGEST
) -> bytes:
    """Shrink a photo and draw its classes over it; outlines are drawn at the small size.

    Masks smaller than about one pixel of the small picture may not be visible.

    Args:
        image: Photo, (H, W, 3) uint8 RGB.
        labels: Label map, (H, W) ints: 0 for background, k for the class of ``colours[k - 1]``.
        colours: Colours of the classes, RGB 0 … 255.
        longest: Longer side of the result in px; a smaller photo keeps its size.

    Returns:
        The bytes of a JPEG.
    """
    if labels.shape != image.shape[:2]:
        raise ValueError(f"class_thumbnail: labels {labels.shape} do not fit {image.shape}")
    small = thumbnail(image, longest)
    rows, columns = (
        (np.arange(new) * 2 + 1) * old // (2 * new)  # the old pixel under each new one's centre
        for new, old in zip(small.shape[:2], labels.shape, strict=True)
    )
    shown = overlay_labels(small, labels[np.ix_(rows, columns)], colours)
    return encode(shown, "jpeg", quality=QUALITY)
