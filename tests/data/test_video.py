"""Videos written here with PyAV, and read frame by frame."""

import sys
from weakref import WeakSet

import numpy as np
import pytest
from video_files import av, needs_av, write_video

from fcp.data.decode import Decoding, pages_of
from fcp.data.images import read_picture
from fcp.data.photos import read_photo
from fcp.data.video import read_clip, read_frame, turn_by_matrix
from fcp.errors import FcpError

SIZE = (48, 64)


def corner_picture(grey=60, size=SIZE):
    """Return a grey picture with a red upper left and a green upper right quarter."""
    height, width = size
    picture = np.full((height, width, 3), grey, np.uint8)
    picture[: height // 2, : width // 2] = (220, 30, 30)
    picture[: height // 2, width // 2 :] = (30, 200, 30)
    return picture


def greys(count):
    return [np.full((*SIZE, 3), 20 + 20 * index, np.uint8) for index in range(count)]


@needs_av
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "webm"])
def test_frames_are_read_in_order_and_again(tmp_path, suffix):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(suffix, "libx264")
    pixels = "yuv420p" if codec != "libx264" else "yuv444p"
    how = {"pts": range(6)} if suffix == "avi" else {}
    options = {"qscale": "1"} if codec == "mpeg4" else {"crf": "1"}
    path = tmp_path / f"clip.{suffix}"
    write_video(path, greys(6), codec=codec, pixels=pixels, options=options, **how)
    clip = read_clip(path)
    assert len(clip.times) == 6
    for number in (1, 2, 3, 4, 5, 6, 2, 2, 5, 1):
        pixels, notes = read_frame(path, number)
        assert pixels.shape == (*SIZE, 3)
        assert notes == []
        assert abs(pixels.mean() - 20 * number) < 5


class Counted:
    """A container of PyAV that counts the steps of decoding, and the packets that are held."""

    def __init__(self, container, steps, alive, most):
        self._container, self._steps, self._alive, self._most = container, steps, alive, most

    def __getattr__(self, name):
        return getattr(self._container, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._container.close()

    def demux(self, stream):
        for packet in self._container.demux(stream):
            counted = CountedPacket(packet, self._steps)
            self._alive.add(counted)
            self._most.append(len(self._alive))
            yield counted
            del counted


class CountedPacket:
    def __init__(self, packet, steps):
        self._packet, self._steps = packet, steps

    def __getattr__(self, name):
        return getattr(self._packet, name)

    def decode(self):
        self._steps.append(1)
        return self._packet.decode()


@pytest.fixture
def film(tmp_path):
    return write_video(tmp_path / "clip.mp4", greys(12))


@pytest.fixture
def counted(monkeypatch, film):
    """Return the steps of decoding, and the numbers of packets that were held, so far."""
    steps, most, alive = [], [], WeakSet()
    original = av.open
    monkeypatch.setattr(
        av, "open", lambda *file, **how: Counted(original(*file, **how), steps, alive, most)
    )
    return steps, most


@needs_av
def test_a_frame_that_is_asked_for_twice_is_decoded_once(film, counted):
    """Formats that need pictures read each frame for the report, and again for its file."""
    for number in range(1, 13):
        first, again = (read_picture(film, Decoding(page=number))[0] for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert abs(first.mean() - 20 * number) < 5
    assert len(counted[0]) <= 12 + 1  # the last gives what the decoder still holds


@needs_av
def test_the_packets_of_a_film_are_not_held(film, counted):
    assert len(read_clip(film).times) == 12
    assert len(counted[1]) >= 12
    assert max(counted[1]) <= 2


@needs_av
def test_a_frame_is_a_page_of_its_file(tmp_path):
    path = write_video(tmp_path / "clip.mp4", greys(3))
    assert pages_of(path).pictures == (1, 2, 3)
    photo, notes = read_photo(path, Decoding(page=3))
    assert photo.size == SIZE
    assert abs(int(photo.pixels.mean()) - 60) < 5
    assert notes == []
    assert abs(read_picture(path)[0].mean() - 20) < 5  # the first, if none is named


@needs_av
def test_variable_frame_rates_keep_their_times(tmp_path):
    times = [0, 40, 100, 700, 733, 2000]
    path = write_video(tmp_path / "clip.mp4", greys(6), pts=times)
    assert read_clip(path).times == pytest.approx([ms / 1000 for ms in times], abs=1e-3)
    assert [round(read_frame(path, n)[0].mean() / 20) for n in range(1, 7)] == [1, 2, 3, 4, 5, 6]


@needs_av
@pytest.mark.parametrize("turn", [0, 90, 180, -90])
def test_a_turned_film_is_read_upright(tmp_path, turn):
    path = write_video(tmp_path / "clip.mp4", [corner_picture()] * 2, turn=turn)
    expected = np.rot90(corner_picture(), turn // 90).astype(int)  # counter-clockwise, as PyAV says
    pixels, _ = read_frame(path, 1)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 8


def test_a_matrix_mirrors_and_turns():
    pixels = np.arange(6).reshape(2, 3, 1)
    one = 1 << 16
    matrices = {  # (x, y) → (a·x + c·y, b·x + d·y)
        (one, 0, 0, one): pixels,
        (-one, 0, 0, one): pixels[:, ::-1],
        (one, 0, 0, -one): pixels[::-1],
        (0, one, -one, 0): np.rot90(pixels, -1),  # x → y, y → -x: clockwise on the screen
        (0, -one, one, 0): np.rot90(pixels, 1),
        (0, one, one, 0): pixels.swapaxes(0, 1),
    }
    for (a, b, c, d), expected in matrices.items():
        matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
        np.testing.assert_array_equal(turn_by_matrix(pixels, matrix), expected)


@needs_av
def test_ten_bits_and_odd_sizes(tmp_path):
    picture = corner_picture(size=(45, 63))
    path = write_video(tmp_path / "deep.mkv", [picture], pixels="yuv444p10le")
    pixels, _ = read_frame(path, 1)
    assert pixels.shape == (45, 63, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - picture).mean() < 4


@needs_av
def test_high_dynamic_range_is_named(tmp_path):
    path = write_video(tmp_path / "hdr.mp4", greys(1), pixels="yuv444p10le", tag=16)
    (note,) = read_frame(path, 1)[1]
    assert note.startswith("high dynamic range (PQ)")


@needs_av
def test_a_truncated_film_says_so(tmp_path):
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 255, (*SIZE, 3), np.uint8) for _ in range(8)]
    flags = {"movflags": "faststart"}
    path = write_video(tmp_path / "clip.mp4", pictures, container=flags)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    clip = read_clip(path)
    assert 0 < len(clip.times) < 8
    assert any("cut short" in note for note in clip.notes)
    read_frame(path, 1)
    with pytest.raises(FcpError, match="frame 8 is missing or damaged"):
        read_frame(path, 8)
    path.write_bytes(whole[:40])
    with pytest.raises(FcpError, match=r"clip\.mp4: damaged, or no video"):
        read_clip(path)


def trimmed(path, target, *, frames, step):
    """Copy a film whose first frames an edit list hides."""
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(path)) as source, av.open(str(target), "w", options=options) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.pts, packet.dts = packet.pts - frames * step, packet.dts - frames * step
                packet.stream = stream
                container.mux(packet)
    return target


@needs_av
@pytest.mark.parametrize(("hidden", "group"), [(2, 12), (6, 4)])  # without, and with whole groups
def test_a_trimmed_film_is_not_cut_short(tmp_path, hidden, group):
    options = {"crf": "1", "g": str(group), "bf": "0"}
    path = write_video(tmp_path / "whole.mp4", greys(12), options=options)
    step = read_clip(path).stamps[1]
    clip = read_clip(trimmed(path, tmp_path / "clip.mp4", frames=hidden, step=step))
    assert (len(clip.times), clip.notes) == (12 - hidden, ())
    assert abs(read_frame(tmp_path / "clip.mp4", 1)[0].mean() - 20 * (hidden + 1)) < 5


@needs_av
def test_an_avi_with_repeated_frames_is_cut_short_only_if_it_is(tmp_path):
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 255, (*SIZE, 3), np.uint8) for _ in range(6)]
    path = tmp_path / "clip.avi"
    how = {"codec": "mpeg4", "pixels": "yuv420p", "options": {"qscale": "1"}}
    write_video(path, pictures, pts=[0, 1, 2, 7, 8, 30], **how)
    assert (len(read_clip(path).times), read_clip(path).notes) == (6, ())
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"idx1") * 2 // 3])
    clip = read_clip(path)
    assert 0 < len(clip.times) < 6
    assert clip.notes == (f"cut short: {clip.stamps[-1] + 1} of 31 frames are in the file",)


@needs_av
def test_sound_alone_is_no_film(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(FcpError, match=r"sound\.mp4: has no pictures, only audio"):
        read_clip(path)


@needs_av
@pytest.mark.parametrize("content", [b"", b"no film" * 99])
def test_no_film_is_named(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(FcpError, match=r"clip\.mp4: damaged, or no video"):
        read_clip(path)


@needs_av
def test_a_film_of_an_unknown_codec_is_named(tmp_path):
    options = {"qscale": "1"}
    path = write_video(
        tmp_path / "clip.avi", greys(2), codec="mpeg4", pixels="yuv420p", options=options
    )
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZQZQ"))
    with pytest.raises(FcpError, match=r"clip\.avi: its codec is not known; convert it to H\.264"):
        read_clip(path)


def test_a_missing_film_is_named(tmp_path):
    with pytest.raises(FcpError, match=r"gone\.mp4: cannot be read"):
        read_clip(tmp_path / "gone.mp4")


def test_without_the_extra_its_name_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"film")
    with pytest.raises(FcpError, match=r"needs PyAV; pip install 'fcp-seg\[video\]'"):
        read_clip(path)
