"""Errors of PyAV, in reading and in writing, are one line that names the film."""

import numpy as np
import pytest
from video_files import av, needs_av, write_video

from fcp.data.video import clear_errors, read_clip, read_frame
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
        raise self._error


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


def test_a_film_that_cannot_be_written_is_named(tmp_path):
    wide = np.zeros((16, 17_000, 3), np.uint8)  # beyond what x264 takes
    with pytest.raises(FcpError, match=r"film\.mp4: the video cannot be written \(.*16,384 px"):
        write_film(tmp_path / "film.mp4", [(wide, 0.0)])
    assert not (tmp_path / "film.mp4").exists()
