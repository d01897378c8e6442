"""Label Studio: brush strokes are decoded bit by bit, as its editor and its converter do."""

import json
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.label_studio import brush_runs, read_brush_runs

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


class Bits:
    """Reads numbers from bytes, highest bit first: ``BitInputStream`` of the editor's package."""

    def __init__(self, content):
        self.text = "".join(f"{byte:08b}" for byte in content)
        self.at = 0

    def read(self, count):
        self.at += count
        return int(self.text[self.at - count : self.at], 2)


def decode(content):
    """Decode as ``rle-pack`` does: runs of one value, or as many values as they are."""
    bits = Bits(content)
    values = np.zeros(bits.read(32), np.uint8)
    word = bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    start = 0
    while start < len(values):
        is_run = bits.read(1)
        stop = start + 1 + bits.read(sizes[bits.read(2)])
        for at in range(start, stop) if not is_run else [slice(start, stop)]:
            values[at] = bits.read(word)
        start = stop
    assert len(bits.text) - bits.at < 8  # nothing but what fills the last byte
    return values


@given(MASKS)
def test_strokes_survive(mask):
    values = decode(brush_runs(mask)).reshape(*mask.shape, 4)
    assert (values == 255 * mask[..., None]).all()


@given(MASKS)
def test_strokes_are_read_again(mask):
    assert (read_brush_runs(brush_runs(mask), mask.shape, "stroke") == mask).all()


def literal(values):
    """Pack numbers one after another, as the editor does where none is repeated."""
    bits = f"{len(values):032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    for start in range(0, len(values), 8):
        piece = values[start : start + 8]
        bits += f"000{len(piece) - 1:03b}" + "".join(f"{value:08b}" for value in piece)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4))))
def test_colours_with_soft_edges(colours):
    packed = literal(colours.ravel().tolist())
    assert (decode(packed) == colours.ravel()).all()
    mask = read_brush_runs(packed, colours.shape[:2], "stroke")
    assert (mask == (colours[..., 3] >= 128)).all()


GOOD = brush_runs(np.ones((3, 4), bool))


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (None, "damaged"),
        ("AAAA", "damaged"),
        ([], "damaged"),
        (1 << 40, "damaged"),
        ([300], "not the run lengths"),
        ([0.5], "not the run lengths"),
        (GOOD[:-1], "end too early"),
        (GOOD[:4], "end too early"),
        (brush_runs(np.ones((5, 5), bool)), "25 px, but it has 4×3 px"),
        ([*GOOD[:4], 0xFF, *GOOD[5:]], "8 bits"),
        ([*GOOD[:6], 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "beyond the picture"),
    ],
)
def test_broken_strokes(rle, message):
    with pytest.raises(FcpError, match=message):
        read_brush_runs(rle, (3, 4), "task 3")


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 63, 64, 65, 16384, 16385, 40000])
def test_runs_of_every_length(pixels):
    mask = np.zeros((1, pixels + 7), bool)
    mask[0, 3 : pixels + 3] = True
    for values in (mask, ~mask):
        assert (decode(brush_runs(values))[3::4] == 255 * values[0]).all()


def test_tasks(tmp_path, found, classes):
    with FORMATS["label-studio"](tmp_path, classes) as writer:
        for picture in found:
            writer.add(picture)
    tasks = json.loads((tmp_path / "label-studio.json").read_text())
    urls = [urlsplit(task["data"]["image"]) for task in tasks]
    assert {url.path for url in urls} == {"/data/local-files/"}
    paths = [parse_qs(url.query)["d"] for url in urls]
    assert paths == [["photos/a/å b.png"], ["photos/b/å b.png"], ["photos/b/empty.png"]]
    for task, picture in zip(tasks, found, strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "fcp"
        things = [thing for thing in picture.objects if thing.mask.any()]
        for region, thing in zip(prediction["result"], things, strict=True):
            size = (region["original_height"], region["original_width"])
            assert size == picture.size
            values = decode(region["value"]["rle"]).reshape(*size, 4)
            assert (values[..., 3] == 255 * thing.mask).all()
            assert region["value"]["brushlabels"] == [thing.class_name]
            assert region.get("score") == thing.score
        assert len({region["id"] for region in prediction["result"]}) == len(things)
    scores = [task["predictions"][0].get("score") for task in tasks]
    assert scores == [pytest.approx((0.5 + 0.25 + 0.125) / 3), 0.5, None]


def test_all_pictures_in_one_folder(tmp_path, found, classes):
    with FORMATS["label-studio"](tmp_path, classes) as writer:
        writer.add(found[1])
    (task,) = json.loads((tmp_path / "label-studio.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=b/%C3%A5%20b.png"
