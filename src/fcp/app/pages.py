"""The pages of an upload as pictures of their own, whose numbers are those of the file.

All that a page shows later (masks, corrections, downloads) speaks of pictures, and no tool's format
can say which page of a file it means.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tifffile

from fcp.data.decode import Decoding, Opened, open_picture, pages_of
from fcp.errors import FcpError

_IN_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_NODATA_TAG = 42113  # GDAL's


def own_pages(picture: Path) -> tuple[int, ...]:
    """Return the pages of a file, from 1, that are photos of their own; none where it is one photo.

    Thumbnails and masks are none, and of a file that cannot be read nothing is known.
    """
    try:
        pages = pages_of(picture).pictures
    except FcpError:
        return ()
    return pages if len(pages) > 1 else ()


def page_of(picture: Path, page: int) -> tuple[str, bytes]:
    """Make a picture of a page, upright, with all its bits and bands.

    Args:
        picture: file with several pages or frames.
        page: of it, from 1.

    Returns:
        The suffix of its file, and what is in it.

    Raises:
        FcpError: the page is damaged.
    """
    opened = open_picture(picture, str(picture), Decoding(page=page))
    content = opened.content
    stream = io.BytesIO()
    if isinstance(content, np.ndarray):
        _write_tiff(stream, content, opened)
        return ".tif", stream.getvalue()
    if content.mode not in _IN_PNG:
        content = content.convert("RGBA" if content.has_transparency_data else "RGB")
    content.save(stream, "PNG", exif=b"")
    return ".png", stream.getvalue()


def _write_tiff(stream: io.BytesIO, values: np.ndarray, opened: Opened) -> None:
    bands = values.shape[2] if values.ndim == 3 else 1
    nodata = [] if opened.nodata is None else [(_NODATA_TAG, "s", 0, f"{opened.nodata:g}", True)]
    colours = bands == 3 or (bands == 4 and opened.alpha)
    tifffile.imwrite(
        stream,
        values,
        photometric="rgb" if colours else "minisblack",
        planarconfig="contig" if bands > 1 else None,
        extrasamples=["unassalpha"] if bands == 4 and opened.alpha else None,
        extratags=nodata,
        compression="zlib",
        metadata=None,
    )
