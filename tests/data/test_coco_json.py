"""Run lengths agree with the COCO API's, whatever the object's form."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO

from fcp.data.coco_json import run_lengths, unpack_counts
from fcp.errors import FcpError

SIZE = (30, 40)
FILE = Path("instances.json")


def painted() -> dict:
    """Return an object as compressed run lengths."""
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[20:28, 5:9] = 1
    packed = rle_tools.encode(mask)
    return {"size": list(SIZE), "counts": packed["counts"].decode()}


def the_api() -> COCO:
    api = COCO()
    api.imgs = {7: {"id": 7, "height": SIZE[0], "width": SIZE[1]}}
    return api


@pytest.mark.parametrize(
    "shape",
    [
        [[2, 2, 12, 2, 12, 12], [20, 20, 30, 20, 30, 28, 20, 28]],
        {"size": list(SIZE), "counts": [30 * 10, 30 * 5, 30 * 25]},
        painted(),
    ],
)
def test_every_form_agrees_with_the_api(shape):
    annotation = {"id": 1, "image_id": 7, "segmentation": shape}
    mask = rle_tools.decode(run_lengths(annotation, SIZE, FILE))
    assert mask.any()
    np.testing.assert_array_equal(mask, the_api().annToMask(annotation))


@pytest.mark.parametrize(
    "shape",
    [
        [],
        [[1, 2, 3]],
        {"size": [9, 9], "counts": [81]},
        {"counts": 5, "size": [30, 40]},
        4,
        *(
            {"size": [30, 40], "counts": counts}
            for counts in ([3, 4], [-3, 1203], [], "34", "", "no runs", "0" * 20 + "o", "é", "~")
        ),
    ],
)
def test_bad_shapes_name_their_annotation(shape):
    with pytest.raises(FcpError, match=r"instances\.json: annotation 77:"):
        run_lengths({"id": 77, "segmentation": shape}, SIZE, FILE)


@given(st.lists(st.integers(0, 2**27), min_size=1, max_size=12))
def test_run_lengths_are_unpacked_as_the_api_packs_them(counts):
    packed = rle_tools.frPyObjects({"size": [1, 1], "counts": counts}, 1, 1)["counts"]
    assert unpack_counts(packed).tolist() == counts
    assert unpack_counts(packed.decode()).tolist() == counts


def test_real_coco_agrees_with_the_api(data_root):
    file = data_root / "COCO/annotations/instances_val2017.json"
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(file)
    assert len(api.anns) > 36
    for annotation in api.anns.values():
        image = api.imgs[annotation["image_id"]]
        runs = run_lengths(annotation, (image["height"], image["width"]), file)
        np.testing.assert_array_equal(rle_tools.decode(runs), api.annToMask(annotation))
