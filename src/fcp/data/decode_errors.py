"""Errors of decoders → one line that names the file and the remedy."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from fcp.errors import FcpError

# What decoders raise on damaged files: Pillow's, tifffile's, and (RuntimeError) imagecodecs's.
DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError),
    *(struct.error, zlib.error, OverflowError, ZeroDivisionError, AttributeError, RuntimeError),
)


@contextmanager
def clear_errors(name: str) -> Iterator[None]:
    """Turn any error of a decoder into an ``FcpError`` of one line."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow refuses at twice its setting; it never refuses where the setting is None.
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        message = f"{name}: more pixels than the safe limit of {limit:,}; make it smaller"
        raise FcpError(message) from error
    except DAMAGE as error:
        raise FcpError(f"{name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return in a few words why a file could not be decoded, and the remedy."""
    if isinstance(error, FileNotFoundError):
        return "no such file; check the path"
    if isinstance(error, IsADirectoryError):
        return "is a folder, expected a picture"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that can be read; convert it to PNG or JPEG"
    # Only the system's errors carry a number; Pillow's errors on a file's content have none.
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror})"
    return f"damaged or truncated ({' '.join(str(error).split())}); copy it again"
