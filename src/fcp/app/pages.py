"""The pages of an uploaded file as pictures of their own, numbered as in the file.

Masks, corrections and downloads refer to pictures, and no annotation format can name a page of a
file.
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
    """Return the numbers, from 1, of the pages of a file with several photos.

    Thumbnails and masks do not count. The result is empty for a file with one photo and for a file
    that cannot be read.
    """
    try:
        pages = pages_of(picture).pictures
    except FcpError:
        return ()
    return pages if len(pages) > 1 else ()


def page_of(picture: Path, page: int) -> tuple[str, bytes]:
    """Convert a page to an upright picture with all its bits and bands.

    Args:
        picture: File with several pages or frames.
        page: Number of the page, from 1.

    Returns:
        The suffix of the new file, and its bytes.

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
    nodata = [] if opened.nodata is None else [(_NODATA_TAG, "s", 0, repr(opened.nodata), True)]
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
