"""Errors of PyAV, in reading and in writing, are one line that names the film."""

import numpy as np
import pytest
from video_files import av, needs_av, write_video

from fcp.data.video import AFTER_DAMAGE, clear_errors, read_clip, read_frame
from fcp.data.video_writing import write_video as write_film
from fcp.errors import FcpError

pytestmark = needs_av


def greys(count):
    return [np.full((48, 64, 3), 20 + 20 * index, np.uint8) for index in range(count)]


def error_of(name):
    return getattr(av.error, name)(-1, "odd", "clip.mp4")


class Failing:
    """A container of PyAV whose packet of one number cannot be decoded."""

    def __init__(self, container, number, error):
        self._container, self._number, self._error = container, number, error

    def __getattr__(self, name):
        return getattr(self._container, name)

    def demux(self, stream):
        for number, packet in enumerate(self._container.demux(stream), start=1):
            yield self if number == self._number else packet

    def decode(self):
        if self._error is not None:
            raise self._error
        return []


@pytest.mark.parametrize("name", ["ExternalError", "PatchWelcomeError", "DecoderNotFoundError"])
def test_errors_of_ffmpeg_alone_are_one_line(tmp_path, monkeypatch, name):
    path = tmp_path / "clip.mp4"
    with (
        pytest.raises(FcpError, match=r"clip\.mp4: damaged, or no video \(odd\); copy it again"),
        clear_errors(path),
    ):
        raise error_of(name)
    write_video(path, greys(3), options={"crf": "1", "g": "1", "bf": "0"})
    assert len(read_clip(path).times) == 3
    real = av.open
    monkeypatch.setattr(av, "open", lambda file: Failing(real(file), 2, error_of(name)))
    with pytest.raises(FcpError, match="frame 2 is missing or damaged"):
        read_frame(path, 2)
    assert abs(read_frame(path, 3)[0].mean() - 60) < 5


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "mov")])
def test_frames_after_a_damaged_one_are_noted_up_to_the_next_key_frame(tmp_path, codec, suffix):
    options = {"g": "6", "bf": "0", "keyint_min": "6", "sc_threshold": "0"}
    path = tmp_path / f"clip.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    pictures = [np.roll(noise, shift, axis=1) for shift in range(12)]
    write_video(path, pictures, codec=codec, pixels="yuv420p", options=options)
    assert [read_frame(path, n)[1] for n in range(1, 13)] == [[]] * 12
    with av.open(str(path)) as container:
        place, size = [(one.pos, one.size) for one in container.demux(video=0) if one.size][2]
    content = bytearray(path.read_bytes())
    content[place + 8 : place + size - 1] = bytes([0x55]) * (size - 9)
    path.write_bytes(content)
    with pytest.raises(FcpError, match="frame 3 is missing or damaged"):
        read_frame(path, 3)
    doubtful = [n for n in (4, 5, 6, 7, 8, 12, 4, 2, 1) if read_frame(path, n)[1] == [AFTER_DAMAGE]]
    assert doubtful == [4, 5, 6, 4]


def test_frames_after_one_that_is_not_shown_are_noted(tmp_path, monkeypatch):
    """A decoder may leave out a frame without an error."""
    path = tmp_path / "clip.mp4"
    write_video(path, greys(6), options={"crf": "1", "g": "4", "bf": "0"})
    assert len(read_clip(path).times) == 6
    real = av.open
    monkeypatch.setattr(av, "open", lambda file: Failing(real(file), 2, None))
    noted = [n for n in (1, 3, 4, 5, 6) if AFTER_DAMAGE in read_frame(path, n)[1]]
    assert noted == [3, 4]


def test_a_film_that_cannot_be_written_is_named(tmp_path):
    wide = np.zeros((16, 17_000, 3), np.uint8)  # beyond what x264 takes
    with pytest.raises(FcpError, match=r"film\.mp4: the video cannot be written \(.*16,384 px"):
        write_film(tmp_path / "film.mp4", [(wide, 0.0)])
    assert not (tmp_path / "film.mp4").exists()
