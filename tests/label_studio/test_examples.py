"""Which annotations become examples, and how they are kept."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from fcp.data.prompts import Box, Points
from fcp.errors import FcpError
from fcp.formats.label_studio import brush_runs
from fcp.formats.read import read_examples
from fcp.formats.run_lengths import to_mask
from fcp.label_studio.examples import candidates_of, choose
from fcp.label_studio.label_config import read_labelling
from fcp.label_studio.store import ExampleStore, examples_hash

LABELLING = read_labelling("""
<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="cat"/><Label value="dog"/></BrushLabels>
<RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels>
<KeyPointLabels name="point" toName="image"><Label value="cat"/></KeyPointLabels></View>
""")
BOX = {"x": 25, "y": 25, "width": 50, "height": 50}
POINT = {"x": 50, "y": 50, "width": 1}
MASK = np.zeros((20, 30), bool)
MASK[5:15, 8:22] = True


def region(kind, value, label="cat", **more):
    return {"type": kind, "to_name": "image", "value": {**value, kind: [label]}, **more}


def brush(label="cat", mask=MASK):
    return region("brushlabels", {"format": "rle", "rle": brush_runs(mask)}, label)


def annotation(number, *regions, updated="2026-01-01", **more):
    return {"id": number, "result": list(regions), "updated_at": updated, **more}


def task(number, *annotations, url=None):
    return {"id": number, "data": {"image": url or f"/{number}.png"}, "annotations": annotations}


@pytest.fixture
def fetch(tmp_path):
    """Return what fetches a picture of the URL's own colour, and counts."""

    def get(url):
        if "missing" in url:
            raise FcpError(f"{url}: missing")
        get.asked.append(url)
        path = tmp_path / "picture.png"
        Image.new("RGB", (30, 20), (sum(url.encode()) % 256, 0, 0)).save(path)
        return path.read_bytes()

    get.asked = []
    return get


def taken(tasks, fetch, count=5, known=()):
    candidates = [one for each in tasks for one in candidates_of(each, LABELLING)]
    return choose(candidates, known, count, fetch)


def test_one_annotation_of_a_task_counts():
    old = annotation(1, brush(), updated="2026-01-01")
    late = annotation(2, region("rectanglelabels", BOX), brush("dog"), updated="2026-02-01")
    skipped = annotation(3, brush(), updated="2026-03-01", was_cancelled=True)
    found = list(candidates_of(task(7, old, late, skipped), LABELLING))
    assert [(one.label, one.origin.annotation, one.origin.exact) for one in found] == [
        ("cat", 2, 1),
        ("dog", 2, 2),
    ]
    truth = annotation(4, brush(), updated="2025-01-01", ground_truth=True)
    (best,) = candidates_of(task(7, old, late, truth), LABELLING)
    assert best.origin.annotation == 4


def test_best_ones_are_taken(fetch):
    tasks = [
        task(1, annotation(1, brush(), updated="2026-01-01", ground_truth=True)),
        task(2, annotation(2, brush(), updated="2026-01-02")),
        task(3, annotation(3, brush(), updated="2026-01-03")),
        task(4, annotation(4, region("rectanglelabels", BOX), updated="2026-01-09")),
        task(5, annotation(5, region("keypointlabels", POINT), updated="2026-01-09")),
    ]
    assert [one.origin.task for one in taken(tasks, fetch, 9)] == [1, 3, 2, 4, 5]
    assert [one.origin.task for one in taken(tasks, fetch, 2)] == [1, 3]


def test_pixels_of_an_example_that_stays_get_no_second_label(fetch):
    (cat,) = taken([task(1, annotation(1, brush()))], fetch)
    again = [one for one in candidates_of(task(1, annotation(2, brush("dog"))), LABELLING)]
    assert choose(again, [cat], 5, fetch, [cat]) == []
    same = [one for one in candidates_of(task(1, annotation(2, brush())), LABELLING)]
    assert [one.label for one in choose(same, [cat], 5, fetch, [cat])] == ["cat"]


def test_masks_of_each_kind(fetch):
    both = annotation(1, brush(), region("keypointlabels", POINT))
    box = annotation(2, region("rectanglelabels", BOX))
    points = annotation(3, region("keypointlabels", POINT), region("keypointlabels", POINT))
    tasks = [task(1, both), task(2, box), task(3, points)]
    found = {one.origin.task: one for one in taken(tasks, fetch)}
    assert (found[1].given == MASK).all()  # an area says more than a point
    assert [type(mark) for mark in found[2].given] == [Box]
    assert to_mask(found[2].runs).sum() == 10 * 16
    assert [type(mark) for mark in found[3].given] == [Points, Points]
    assert to_mask(found[3].runs).any()


def test_a_smart_tools_negative_points_are_no_examples(fetch):
    on, off = (region("keypointlabels", POINT, is_positive=value) for value in (True, False))
    (one,) = taken([task(1, annotation(1, on, off)), task(2, annotation(2, off))], fetch)
    assert one.origin.task == 1
    assert [type(mark) for mark in one.given] == [Points]


def test_bad_ones_make_room(fetch, caplog):
    broken = region("brushlabels", {"format": "rle", "rle": [0, 1]}, id="r1")
    odd = region("rectanglelabels", {"x": {}, "y": 1, "width": 1, "height": 1})
    tasks = [
        task(1, annotation(1, broken)),
        task(2, annotation(2, brush()), url="/missing.png"),
        task(3, annotation(3, odd)),
        task(4, annotation(4, brush(mask=np.ones((4, 4), bool)))),
        task(5, annotation(5, brush(), updated="2025-01-01")),
        task(6, annotation(6, brush("unicorn"))),
        task(7, annotation(7, "odd", {"type": "brushlabels", "to_name": "image"})),
        task(8, "odd", {"id": 8, "result": None}),
    ]
    with caplog.at_level(logging.WARNING):
        assert [one.origin.task for one in taken(tasks, fetch, 1)] == [5]
    for message in ("task 4", "16 px", "unicorn"):
        assert message in caplog.text
    with caplog.at_level(logging.WARNING):
        assert [one.origin.task for one in taken(tasks, fetch, 5)] == [5]
    for message in ("task 1: region r1", "missing.png", "task 3: region None"):
        assert message in caplog.text


def test_same_pixels_of_two_labels(fetch, caplog):
    both = annotation(1, brush("cat"), brush("dog"))
    with caplog.at_level(logging.WARNING):
        assert [one.label for one in taken([task(1, both)], fetch)] == ["cat"]
    assert "mark the same pixels" in caplog.text


def test_same_pixels_of_a_picture_that_was_uploaded_twice(fetch, caplog):
    """The second task's address has other letters, and its picture the same bytes."""
    first = task(1, annotation(1, brush("cat")), url="/ab.png")
    second = task(2, annotation(2, brush("dog")), url="/ba.png")
    third = task(3, annotation(3, brush("dog")))
    with caplog.at_level(logging.WARNING):
        found = taken([first, second, third], fetch)
    assert [(one.label, one.origin.task) for one in found] == [("cat", 1), ("dog", 3)]
    assert "mark the same pixels" in caplog.text


def test_store_forgets_nothing(fetch, tmp_path):
    store = ExampleStore(tmp_path / "store")
    assert store.load(7) == []
    tasks = [
        task(1, annotation(1, brush(), brush("dog", ~MASK))),
        task(2, annotation(2, region("keypointlabels", POINT))),
        task(3, annotation(3, region("rectanglelabels", BOX))),
    ]
    examples = taken(tasks, fetch)
    saved = store.save(7, examples)
    again = ExampleStore(tmp_path / "store").load(7)
    assert [one.key for one in again] == [one.key for one in examples]
    for read, written in zip(again, examples, strict=True):
        assert read.runs["counts"] == written.runs["counts"]
        assert read.marks == written.marks
    assert [len(one.marks) for one in again] == [0, 1, 1, 0]
    hashes = {examples_hash(one, "model") for one in (examples, saved, again)}
    assert len(hashes) == 1
    assert examples_hash(examples, "other model") not in hashes
    assert examples_hash(examples[1:], "model") not in hashes
    # What has not changed is not fetched again; what has, is.
    fetch.asked.clear()
    taken(tasks, fetch, known=again)
    assert fetch.asked == []
    tasks[1] = task(2, annotation(2, region("keypointlabels", POINT), updated="2026-05-05"))
    taken(tasks, fetch, known=again)
    assert fetch.asked == ["/2.png"]


def test_store_is_coco(fetch, tmp_path):
    store = ExampleStore(tmp_path)
    store.save(7, taken([task(1, annotation(1, brush(), brush("dog", ~MASK)))], fetch))
    read = read_examples(tmp_path / "project-7" / "coco.json")
    assert list(read) == ["cat", "dog"]
    assert (read["cat"][0].annotation == MASK).all()


def test_pictures_that_are_not_used_any_more_go(fetch, tmp_path):
    store = ExampleStore(tmp_path)
    examples = taken([task(n, annotation(n, brush())) for n in (1, 2)], fetch)
    saved = store.save(7, examples)
    store.save(7, saved[1:])
    assert [saved[1].picture] == list((tmp_path / "project-7" / "pictures").iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"counts": "', '"counts": "0'),
        lambda text: text.replace('"task"', '"tusk"'),
        lambda text: text.replace("pictures/", "pictures/no"),
        lambda text: json.dumps({"categories": 1}),
    ],
)
def test_damaged_store_is_told(fetch, tmp_path, caplog, damage):
    store = ExampleStore(tmp_path)
    store.save(7, taken([task(1, annotation(1, brush()))], fetch))
    file = tmp_path / "project-7" / "coco.json"
    file.write_text(damage(file.read_text()))
    with caplog.at_level(logging.WARNING):
        assert store.load(7) == []
    assert "read again" in caplog.text
