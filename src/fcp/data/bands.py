"""Choice of the bands that are read, for pictures that are not grey or red, green and blue."""

from __future__ import annotations

import numpy as np

from fcp.data.decode import Decoding
from fcp.errors import FcpError


def choose_bands(
    values: np.ndarray, how: Decoding, name: str, *, alpha: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Choose the bands of numbers (H, W) or (H, W, C) that become grey or red, green and blue.

    Args:
        values: Numbers of a picture, or of some of its rows.
        how: Options of reading; ``how.bands`` are the bands to read, or None for the default ones.
        name: Name of the picture in an error.
        alpha: Whether the last of four bands is the transparency.

    Returns:
        (H, W) or (H, W, 3) of the same numbers, and what was assumed, if anything.

    Raises:
        FcpError: it has no such bands.
    """
    count = values.shape[2] if values.ndim == 3 else 1
    if how.bands is not None:
        far = [band for band in how.bands if not 1 <= band <= count]
        if far:
            raise FcpError(f"{name}: --bands: there is no band {far[0]}; it has {count}")
        chosen = values.reshape(*values.shape[:2], count)[..., [band - 1 for band in how.bands]]
        return (chosen[..., 0] if len(how.bands) == 1 else chosen), []
    if values.ndim == 2 or (count == 4 and alpha) or count == 3:
        return (values[..., :3] if values.ndim == 3 else values), []
    first = values[..., :3] if count > 3 else values[..., 0]
    which = "first three" if count > 3 else "first"
    said = f"the {which} of its {count} bands are read; --bands 4,3,2 chooses others"
    return first, [said]
