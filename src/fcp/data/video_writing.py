"""Pictures with times → a video (PyAV, the extra ``video``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fcp.data.video import clear_errors, load_av
from fcp.system.files import open_atomically

if TYPE_CHECKING:
    from av.container import OutputContainer

UNIT = Fraction(1, 1000)  # s
CODECS = ("libx264", "mpeg4")  # the first that this build of PyAV has


def write_video(path: Path, pictures: Iterable[tuple[np.ndarray, float]]) -> None:
    """Write an mp4 without sound.

    Args:
        path: File to write.
        pictures: Pictures (H, W, 3) uint8 RGB with their times in s, ascending; at least one. Those
            of another size than the first are resized to it.

    Raises:
        FcpError: PyAV is not installed, or the file cannot be written.
    """
    av = load_av(path)
    with open_atomically(path) as file, clear_errors(path, writing=True):
        with av.open(file, "w", format="mp4") as container:
            codec = next(one for one in CODECS if one in av.codecs_available)
            _write(container, codec, pictures)


def _write(
    container: OutputContainer, codec: str, pictures: Iterable[tuple[np.ndarray, float]]
) -> None:
    import av

    stream: Any = container.add_stream(codec, rate=int(1 / UNIT))
    last = -1
    for pixels, time in _even(pictures):
        if last < 0:
            stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
            stream.codec_context.time_base = UNIT
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        if (frame.height, frame.width) != (stream.height, stream.width):
            frame = frame.reformat(stream.width, stream.height)
        last = max(last + 1, round(time / UNIT))
        frame.pts, frame.time_base = last, UNIT
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _even(pictures: Iterable[tuple[np.ndarray, float]]) -> Iterator[tuple[np.ndarray, float]]:
    """Yield pictures with even sides, which mp4 needs; the last row or column is repeated."""
    for pixels, time in pictures:
        more = [(0, side % 2) for side in pixels.shape[:2]]
        yield np.ascontiguousarray(np.pad(pixels, (*more, (0, 0)), mode="edge")), time
