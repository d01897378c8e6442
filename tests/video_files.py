"""Small videos for tests, written with PyAV."""

from fractions import Fraction
from pathlib import Path

import pytest

try:
    import av
except ImportError:
    av = None
needs_av = pytest.mark.skipif(av is None, reason="needs PyAV, the extra `video`")


def write_video(path, pictures, **how):
    """Write pictures as a video.

    ``pts`` are times in ms; ``turn`` is a rotation; ``pixels`` the pixel format; ``codec``;
    ``options`` those of the codec; ``tag`` a transfer characteristic.
    """
    size = (pictures[0].shape[0], pictures[0].shape[1])
    with av.open(str(path), "w", options=how.get("container", {})) as container:
        codec = how.get("codec", "libx264")
        stream = container.add_stream(codec, rate=1000, options=how.get("options", {"crf": "1"}))
        stream.height, stream.width = size
        stream.pix_fmt = how.get("pixels", "yuv444p")
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if "tag" in how:
            stream.codec_context.color_trc = how["tag"]
        if "turn" in how:
            stream.set_display_rotation(how["turn"])
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = how["pts"][index] if "pts" in how else 40 * index
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)
