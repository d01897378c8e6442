"""A photo with the masks of its classes, small enough that thousands fit in one page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fcp.visualize import Colour, encode, overlay_labels, thumbnail

LONGEST = 256
# With LONGEST about 10 kB a photo. Finer grading shows no difference at the size of a card.
QUALITY = 70


def class_thumbnail(
    image: np.ndarray, labels: np.ndarray, colours: Sequence[Colour], *, longest: int = LONGEST
) -> bytes:
    """Shrink a photo and lay its classes over it; outlines are drawn at the small size.

    What covers less than about a pixel of the small picture may not show.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) ints: 0 for background, k for the class of ``colours[k - 1]``.
        colours: Colours of the classes, RGB 0 … 255.
        longest: longer side of the result in px; a smaller photo keeps its size.

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
