"""Frames of a video, one at a time, upright, with their times (PyAV, the extra ``video``).

A frame's number follows its time of presentation, from 1, as the packets of the file announce it;
no frame is decoded to count them. Frames are read in order from the file, so that memory does not
grow with its length. The last one is kept, because a frame is often asked for twice; an earlier one
is found by reading from the start again. All frames keep their own times, so that variable frame
rates need no care.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fcp.errors import FcpError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

AFTER_DAMAGE = "decoded after a damaged frame; may be wrong"
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273


@dataclass(frozen=True)
class Clip:
    """The frames of a video, as its packets announce them.

    Attributes:
        times: Time of presentation of each frame, s, in order; None where the file has no times.
        stamps: Time stamp of each frame in the file's own units, ascending; empty where the file
            has none, or the same one twice.
        notes: Sentences on what is unusual: high dynamic range, pixels that are not square, an
            end that is missing.
    """

    times: tuple[float | None, ...]
    stamps: tuple[int, ...]
    notes: tuple[str, ...] = ()


def read_clip(path: Path) -> Clip:
    """List the frames of a video without decoding them.

    Raises:
        FcpError: PyAV is not installed, or the file is missing, damaged, or has no picture.
    """
    return _clip_of_state(path, *_state(path))


def read_frame(path: Path, number: int) -> tuple[np.ndarray, list[str]]:
    """Read a frame; frames that follow each other are read fastest.

    Args:
        path: File of the video.
        number: Number of the frame, from 1.

    Returns:
        (H, W, 3) uint8 RGB, upright and read-only, and the notes of ``Clip``, and
        ``AFTER_DAMAGE`` where a frame before it, since the last key frame, is damaged.

    Raises:
        FcpError: as ``read_clip``, or the frame is missing or damaged.
    """
    state = _state(path)
    pixels, is_doubtful = _reader_of_state(path, *state).frame(number)
    return pixels, [*_clip_of_state(path, *state).notes, *[AFTER_DAMAGE] * is_doubtful]


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise FcpError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=8)
def _clip_of_state(path: Path, size: int, changed: int) -> Clip:
    with _opened(path) as (container, stream), clear_errors(path):
        stamps, places = _stamps_of(container, stream)
        announced, codec = _announced(container, stream, path), stream.codec_context
        ratio, unit = stream.sample_aspect_ratio, stream.time_base
        hdr = _HDR.get(int(codec.color_trc or 0))
    known = sorted(stamp for stamp in stamps if stamp is not None)
    is_whole = len(set(known)) == len(stamps)
    if not stamps:
        raise FcpError(f"{path}: has no frame; copy it again")
    notes = []
    if hdr:
        notes.append(f"high dynamic range ({hdr}): read without tone mapping, so colours are pale")
    if ratio and ratio != 1:
        notes.append(f"its pixels are not square ({ratio}); masks are those of the stored pixels")
    if announced > places:
        notes.append(f"cut short: {places} of {announced} frames are in the file")
    times = [None if unit is None else float(stamp * unit) for stamp in known]
    return Clip(
        tuple(times) if len(times) == len(stamps) else (None,) * len(stamps),
        tuple(known) if is_whole else (),
        tuple(notes),
    )


def _stamps_of(container: InputContainer, stream: VideoStream) -> tuple[list[int | None], int]:
    """Return the time stamps of the frames that are shown, and the number of all places for one.

    Places are packets, also those that an edit list hides; in an AVI, whose empty packets repeat a
    frame and do not come, the time stamps count them.
    """
    counts_empty = container.format.name == "avi"
    stamps, places = [], 0
    for packet in container.demux(stream):  # not listed: packets hold the whole file
        if packet.size and not packet.is_discard:
            stamps.append(packet.pts)
        if packet.size or packet.dts is not None:  # the last one only ends the stream
            place = packet.dts if counts_empty else None
            places = places + 1 if place is None else place + 1
    return stamps, places


def _announced(container: InputContainer, stream: VideoStream, path: Path) -> int:
    """Return the number of places for a frame that a file announces; 0 if it is not known."""
    if "mp4" in container.format.name.split(","):
        # Of an edited film, the number in its header counts packets that are left out, too.
        return len(stream.index_entries)
    if container.format.name == "avi" and not _is_cut(path):
        return 0  # empty packets may follow the last frame
    return stream.frames


def _is_cut(path: Path) -> bool:
    """Return whether an AVI is shorter than its header says."""
    with path.open("rb") as file:
        head = file.read(8)
    return path.stat().st_size < 8 + int.from_bytes(head[4:], "little")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and its first stream of pictures.

    Raises:
        FcpError: it cannot be opened, or has no such stream.
    """
    container = _open(path)
    with container:
        yield container, _stream_of(container, path)


def _open(path: Path) -> InputContainer:
    with clear_errors(path):
        container: InputContainer = load_av(path).open(str(path))
    return container


def _stream_of(container: InputContainer, path: Path) -> VideoStream:
    kinds = sorted({stream.type for stream in container.streams})
    if not container.streams.video:
        reason = f"has no pictures, only {', '.join(kinds)}" if kinds else "damaged, or no video"
        raise FcpError(f"{path}: {reason}; give another file")
    stream = container.streams.video[0]
    if stream.codec_context is None:  # declared as always there
        raise FcpError(f"{path}: its codec is not known; convert it to H.264")
    stream.thread_type = "AUTO"
    return stream


def load_av(path: Path) -> ModuleType:
    """Return PyAV.

    Args:
        path: Video that needs it, for the error.

    Raises:
        FcpError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise FcpError(
            f"{path}: a video, which needs PyAV; pip install 'fcp-seg[video]'"
        ) from error
    av.logging.set_level(None)  # errors are reported by exceptions
    return av


@contextmanager
def clear_errors(path: Path, *, writing: bool = False) -> Iterator[None]:
    """Turn errors of PyAV into an ``FcpError`` of one line.

    Args:
        path: File that is read or written.
        writing: Whether it is written.
    """
    errors = _errors_of(load_av(path))
    try:
        yield
    except errors as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"{path}: damaged, or no video ({reason}); copy it again"
        if writing:
            message = (
                f"{path}: the video cannot be written ({reason}); leave out --overlay-video, free "
                "disk space, or take frames of up to 16,384 px a side"
            )
        raise FcpError(message) from error


def _errors_of(av: ModuleType) -> tuple[type[Exception], ...]:
    """Return what PyAV raises; some of its errors are an ``FFmpegError`` and nothing else."""
    return OSError, ValueError, RuntimeError, av.error.FFmpegError


class _Found(NamedTuple):
    """A decoded frame.

    Attributes:
        number: Number of the frame, from 1.
        frame: Frame as PyAV gives it.
        is_doubtful: Whether a frame before it, since the last key frame, is damaged or missing.
    """

    number: int
    frame: av.VideoFrame
    is_doubtful: bool


class _Reader:
    """A video that is read frame by frame.

    Args:
        path: File of the video.
        clip: Frames that the file announces.
    """

    def __init__(self, path: Path, clip: Clip) -> None:
        self._path, self._clip = path, clip
        self._turn = Lock()
        self._container: InputContainer | None = None
        self._frames: Iterator[_Found] = iter(())
        self._ahead: _Found | None = None  # read, and not yet asked for
        self._next = 0  # number of the frame that is read next, from 1
        # The frame that was asked for: its number, its pixels and whether it is doubtful.
        self._last: tuple[int, np.ndarray, bool] | None = None

    def frame(self, number: int) -> tuple[np.ndarray, bool]:
        """Read a frame.

        Returns:
            Pixels (H, W, 3), upright; not to be written to, as they may be asked for again. And
            whether a damaged frame came before it and no key frame in between.

        Raises:
            FcpError: it is missing or damaged.
        """
        with self._turn:
            if self._last is None or self._last[0] != number:
                self._last = self._read(number)
            return self._last[1:]

    def _read(self, number: int) -> tuple[int, np.ndarray, bool]:
        if self._container is None or number < self._next:
            self._rewind()
        for found in iter(self._step, None):
            self._next = min(found.number, number) + 1
            if found.number == number:
                pixels = upright_pixels(found.frame)
                pixels.flags.writeable = False
                return number, pixels, found.is_doubtful
            if found.number > number:  # the wanted one was damaged
                self._ahead = found
                break
        raise FcpError(f"{self._path}: frame {number} is missing or damaged; copy it again")

    def _rewind(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = _open(self._path)
        stream = _stream_of(self._container, self._path)
        frames = _decoded(self._container, stream, _errors_of(load_av(self._path)))
        self._frames = _numbered(frames, self._clip.stamps)
        self._ahead, self._next = None, 1

    def _step(self) -> _Found | None:
        found, self._ahead = self._ahead or next(self._frames, None), None
        return found


@lru_cache(maxsize=1)  # one file is open at a time
def _reader_of_state(path: Path, size: int, changed: int) -> _Reader:
    return _Reader(path, _clip_of_state(path, size, changed))


def _decoded(
    container: InputContainer, stream: VideoStream, errors: tuple[type[Exception], ...]
) -> Iterator[av.VideoFrame | None]:
    """Yield all frames that can be decoded, and None for each that is damaged."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except errors:
            yield None
            continue
        yield from (None if frame.is_corrupt else frame for frame in frames)


def _numbered(frames: Iterable[av.VideoFrame | None], stamps: tuple[int, ...]) -> Iterator[_Found]:
    """Number frames by their time stamps, or else by their places.

    Args:
        frames: Frames in the order of presentation; None for each damaged one.
        stamps: Time stamps of ``Clip``.
    """
    expected, is_doubtful = 1, False
    for frame in frames:
        if frame is None:
            is_doubtful = True
            continue
        number = expected
        if stamps and frame.pts is not None:
            number = int(np.searchsorted(stamps, frame.pts, side="right"))
        is_doubtful = not frame.key_frame and (is_doubtful or number > expected)
        expected = max(expected, number) + 1
        yield _Found(number, frame, is_doubtful)


def upright_pixels(frame: av.VideoFrame) -> np.ndarray:
    """Return the pixels of a frame (H, W, 3) uint8 RGB, turned and mirrored as its matrix says."""
    pixels = frame.to_ndarray(format="rgb24")
    held: Any = frame.side_data  # declared as a mapping, and goes through its values
    for data in held:
        if data.type.name == "DISPLAYMATRIX":
            turned = turn_by_matrix(pixels, struct.unpack_from("9i", bytes(data)))
            return np.ascontiguousarray(turned)
    return pixels


def turn_by_matrix(pixels: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """Turn and mirror pixels (H, W, C) by a display matrix, to the nearest quarter turn.

    A pixel (x, y) is shown at (a·x + c·y, b·x + d·y), up to a shift.

    Args:
        pixels: Pixels as stored.
        matrix: Numbers a, b, u, c, d, v, x, y, w of the matrix (libavutil/display.h).
    """
    a, b, _, c, d = matrix[:5]
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    if a < 0:
        pixels = pixels[:, ::-1]
    return pixels[::-1] if d < 0 else pixels
