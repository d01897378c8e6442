"""Values that no tool writes, as ``benchmarks/fuzz.py`` found them: each gets one clear line."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from fcp.errors import FcpError
from fcp.formats.read import read_examples

SIZE = (30, 40)
CVAT = (
    '<?xml version="1.0"?><annotations><image id="0" name="a.jpg" width="40" height="30">{}'
    "</image></annotations>"
)
_stream = io.BytesIO()
Image.fromarray(np.eye(*SIZE, dtype=np.uint8)).save(_stream, "PNG")
MASK = _stream.getvalue()


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    "shape",
    [
        '<box label="cat" xtl="4" ytl="4" xbr="12" ybr="14" rotation="inf"/>',
        '<box label="cat" xtl="4" ytl="4" xbr="12" ybr="14" rotation="nan"/>',
        '<ellipse label="cat" cx="9" cy="9" rx="4" ry="3" rotation="nan"/>',
        '<mask label="cat" rle="0, 80" left="inf" top="4" width="8" height="10"/>',
        f'<mask label="cat" rle="0, {"9" * 30}" left="4" top="4" width="8" height="10"/>',
        f'<mask label="cat" rle="0, {"9" * 5000}" left="4" top="4" width="8" height="10"/>',
        '<polygon label="cat" points="4,4;1e999,4;12,14"/>',
    ],
)
def test_cvats_odd_numbers(write, shape):
    write("a.jpg", SIZE)
    with pytest.raises(FcpError, match=r"a\.xml: a\.jpg: shape 1: "):
        read_examples(write("a.xml", CVAT.format(shape)))


def test_cvat_in_an_unknown_encoding(write):
    text = '<?xml version="1.0" encoding="u4f-8"?><annotations/>'
    with pytest.raises(FcpError, match=r"a\.xml: not valid XML \(unknown encoding"):
        read_examples(write("a.xml", text))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    "value",
    [
        {"x": 10**400, "y": 1, "keypointlabels": ["cat"]},
        {"points": [[10, 10**400], [30, 4], [5, 5]], "polygonlabels": ["cat"]},
        {"x": 10, "y": 9, "width": 20, "height": 9, "rotation": 1e999, "rectanglelabels": ["cat"]},
        {"x": 9, "y": 9, "radiusX": 2, "radiusY": 2, "rotation": 1e999, "ellipselabels": ["cat"]},
    ],
)
def test_label_studios_odd_numbers(write, value):
    write("a.jpg", SIZE)
    task = {"data": {"image": "a.jpg"}, "annotations": [{"result": [{"value": value}]}]}
    with pytest.raises(FcpError, match=r"tasks\.json: a\.jpg: region 1: "):
        read_examples(write("tasks.json", json.dumps([task])))


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ({"annotations": 5}, "annotations"),
        ({"annotations": [{"result": 2.5}]}, "result"),
        ({"predictions": True}, "predictions"),
    ],
)
def test_label_studios_lists_that_are_none(write, task, name):
    write("a.jpg", SIZE)
    with pytest.raises(FcpError, match=rf"tasks\.json: {name}: expected a list, got"):
        read_examples(write("tasks.json", json.dumps([{"data": {"image": "a.jpg"}, **task}])))


@pytest.mark.parametrize("line", [f"{'9' * 5000}, cat", "70000, cat", "1", f"1, {'x' * 200_000}"])
def test_roboflows_list_with_odd_lines(tmp_path, write, line):
    write("a.jpg", SIZE)
    write("a_mask.png", MASK)
    write("_classes.csv", f"Pixel Value, Class\n0, background\n{line}\n")
    with pytest.raises(FcpError, match=r"_classes\.csv:3: expected a value|not a list of values"):
        read_examples(tmp_path)


def test_yolos_class_id_of_too_many_digits(tmp_path, write):
    write("images/a.jpg", SIZE)
    write("labels/a.txt", "0 0.5 0.5 0.4 0.4")
    write("data.yaml", f"names:\n  ? '{'9' * 5000}'\n  : cat\n")
    with pytest.raises(FcpError, match=r"data\.yaml: names: .* is no id with its class name"):
        read_examples(tmp_path)
