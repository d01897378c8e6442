"""The backend with the shipped model: fit, predict, hints, restarts, and what goes wrong."""

import base64
import logging
import threading
from functools import partial

import numpy as np
import pytest

from fcp.data.images import read_image
from fcp.data.prompts import Box
from fcp.errors import FcpError
from fcp.formats.label_studio import brush_runs, read_brush_runs
from fcp.inference.segmenter import FewShotSegmenter
from fcp.label_studio import backend as backends
from fcp.label_studio.backend import Backend
from fcp.label_studio.client import LabelStudio
from fcp.label_studio.hints import Hint, find_hinted, read_hint
from fcp.label_studio.store import ExampleStore

CONFIG = """
<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="person"/></BrushLabels>
<RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels>
<KeyPointLabels name="point" toName="image" smart="true">
  <Label value="person"/><Label value="cat"/><Label value="fish"/>
</KeyPointLabels></View>
"""


@pytest.fixture(scope="module")
def segmenter():
    """Return `tiny`, without the appearance, whose fit would take most of the time."""
    loaded = FewShotSegmenter.from_pretrained("tiny", device="cpu")
    loaded.encode = partial(loaded.encode, appearance="off")
    return loaded


@pytest.fixture
def make(segmenter, fake_studio, tmp_path):
    """Return what builds a backend over the same folder."""

    def build(fingerprint="model", **more):
        studio = LabelStudio(fake_studio.url, "abc")
        store = ExampleStore(tmp_path / "store")
        return Backend(segmenter, studio, store, fingerprint=fingerprint, **more)

    return build


@pytest.fixture
def annotated(fake_studio, photos):
    """Serve the demo's photos, the astronaut and the cat annotated as project 7; yields tasks."""
    tasks = {}
    for number, (name, photo) in enumerate(photos.items(), start=1):
        fake_studio.put(f"/data/{name}.png", photo.png)
        tasks[name] = {"id": number, "data": {"image": f"/data/{name}.png"}, "annotations": []}
    annotate(tasks, photos, "astronaut", "person")
    annotate(tasks, photos, "chelsea", "cat")
    fake_studio.put("/api/projects/7/", {"id": 7, "label_config": CONFIG})
    serve(fake_studio, tasks)
    return tasks


def serve(fake_studio, tasks):
    listed = [task for task in tasks.values() if task["annotations"]]
    fake_studio.put("/api/tasks", {"total": len(listed), "tasks": listed})


def annotate(tasks, photos, name, label):
    value = {"format": "rle", "rle": brush_runs(photos[name].mask), "brushlabels": [label]}
    region = {"type": "brushlabels", "to_name": "image", "value": value}
    number = tasks[name]["id"]
    tasks[name]["annotations"] = [{"id": number, "updated_at": "2026", "result": [region]}]


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_fit_and_predict(make, annotated, photos, fake_studio, caplog):
    backend = make()
    with caplog.at_level(logging.INFO):
        assert backend.fit(7).tasks() == {"person": [1], "cat": [3]}
    assert "person from tasks [1], cat from tasks [3]" in caplog.text
    person, cat = backend.predict(7, CONFIG, [annotated["grace_hopper"], annotated["chelsea"]])
    version = backend.fitted(7).version
    assert {person["model_version"], cat["model_version"]} == {version}
    by_label = {region["value"][region["type"]][0]: region for region in person["result"]}
    photo = photos["grace_hopper"]
    stroke = by_label["person"]["value"]["rle"]
    assert iou(read_brush_runs(stroke, photo.mask.shape, ""), photo.mask) > 0.6
    scores = {region["value"][region["type"]][0]: region["score"] for region in person["result"]}
    assert person["score"] == pytest.approx(np.mean(list(scores.values())), abs=1e-3)
    assert any(region["type"] == "rectanglelabels" for region in cat["result"])

    # The same annotations again: nothing changes, and no picture is fetched.
    fake_studio.asked.clear()
    assert backend.fit(7).version == version
    assert [path.partition("?")[0] for path, _ in fake_studio.asked] == [
        "/api/projects/7/",
        "/api/tasks",
    ]
    # A new one, and one that is gone.
    annotate(annotated, photos, "grace_hopper", "person")
    annotated["chelsea"]["annotations"] = []
    serve(fake_studio, annotated)
    assert backend.fit(7).tasks() == {"person": [2, 1]}
    assert backend.fitted(7).version != version


def test_restart(make, annotated, fake_studio):
    version = make().fit(7).version
    fake_studio.answers.clear()
    again = make()
    with again._asking:  # it is known before anything is encoded: Label Studio waits 3 s for it
        assert again.version(7) == version
    assert again.fitted(7).version == version
    assert again.fitted(7).support is not None
    assert make("another model").fitted(7).version != version


def test_examples_are_limited(make, annotated, photos, fake_studio):
    annotate(annotated, photos, "grace_hopper", "person")
    serve(fake_studio, annotated)
    assert make(keep=1).fit(7).tasks() == {"person": [2], "cat": [3]}


def test_older_ground_truth_goes_before_what_is_new(make, annotated, photos, monkeypatch):
    config = CONFIG.replace('<Label value="cat"/>', "").replace('<Label value="fish"/>', "")
    config = config.replace('<RectangleLabels name="box" toName="image"></RectangleLabels>', "")
    annotate(annotated, photos, "grace_hopper", "person")
    new, old = annotated["grace_hopper"], annotated["astronaut"]
    old["annotations"][0]["ground_truth"] = True
    backend, read = make(keep=1), []

    def tasks(_):
        for task in (new, old, new):
            read.append(task["id"])
            yield task

    monkeypatch.setattr(backend.studio, "annotated_tasks", tasks)
    assert backend.fit(7, config).tasks() == {"person": [1]}
    assert read == [2, 1]  # no older one could be better
    old["annotations"][0]["ground_truth"] = False
    monkeypatch.setattr(backends, "MAX_TASKS", 2)
    read.clear()
    assert backend.fit(7, config).tasks() == {"person": [2]}
    assert read == [2, 1]


def test_no_example_yet(make, annotated, caplog):
    backend = make()
    with caplog.at_level(logging.WARNING):
        assert backend.predict(7, CONFIG, [annotated["chelsea"]]) == [[]]
    assert "annotate a few tasks first" in caplog.text
    assert backend.versions() == [backend.fitted(7).version]


def test_bad_tasks_lose_no_others(make, annotated, fake_studio, caplog, monkeypatch):
    backend = make()
    backend.fit(7)
    fake_studio.put("/data/text.png", b"no picture")
    packed = base64.b64encode(fake_studio.answers["/data/astronaut.png"][2]).decode()
    urls = ["http://example.org/a.png", "/data/text.png", "/data/none.png", 5]
    bad = [{"id": 10 + index, "data": {"image": url}} for index, url in enumerate(urls)]
    good = [annotated["astronaut"], {"id": 20, "data": {"image": f"data:;base64,{packed}"}}]
    with caplog.at_level(logging.WARNING):
        found = backend.predict(7, CONFIG, [good[0], *bad, {}, good[1]])
    assert [bool(one) for one in found] == [True, *[False] * 5, True]
    same, again = ([{**one, "id": None} for one in found[n]["result"]] for n in (0, -1))
    assert same == again
    for message in ("--allow-host example.org", "not a picture", "404", "no picture under"):
        assert message in caplog.text
    monkeypatch.setattr(backends, "prediction_of", lambda *_: 1 / 0)
    assert backend.predict(7, CONFIG, good) == [[], []]
    assert "ZeroDivisionError" in caplog.text


def test_bad_configuration(make):
    for call in (
        lambda backend: backend.check("<View/>"),
        lambda backend: backend.predict(7, "<View/>", []),
        lambda backend: backend.fit(7, "<View/>"),
    ):
        with pytest.raises(FcpError, match="labelling configuration"):
            call(make())


def test_labels_that_are_gone_from_the_configuration(make, annotated):
    backend = make()
    backend.fit(7)
    less = CONFIG.replace('<Label value="cat"/></Rect', '<Label value="cow"/></Rect')
    (found,) = backend.predict(7, less, [annotated["chelsea"]])
    assert all(region["type"] == "brushlabels" for region in found["result"])


def test_without_the_api(make, annotated, photos):
    """What webhooks bring is enough: tasks come one by one, and others stay."""
    backend = make()
    for name in ("astronaut", "chelsea"):
        fitted = backend.fit_tasks(7, CONFIG, [annotated[name]])
    assert fitted.tasks() == {"person": [1], "cat": [3]}
    renamed = CONFIG.replace('value="person"', 'value="human"')
    other = make()
    assert other.fit_tasks(7, renamed, [annotated["chelsea"]]).tasks() == {"cat": [3]}
    for name in ("astronaut", "chelsea"):
        fitted = backend.fit_tasks(7, CONFIG, [annotated[name]])
    annotated["astronaut"]["annotations"] = []
    assert backend.fit_tasks(7, CONFIG, [annotated["astronaut"]]).tasks() == {"cat": [3]}
    assert backend.forget(7, [99]).tasks() == {"cat": [3]}
    assert backend.forget(7, [3]).tasks() == {}
    assert make().fitted(7).support is None


def hint(kind, value, label, **more):
    region = {"type": kind, "to_name": "image", "value": {**value, kind: [label]}, **more}
    return {"result": [region]}


def test_point_on_what_the_examples_find(make, annotated, photos):
    backend = make()
    backend.fit(7)
    point = hint("keypointlabels", {"x": 45, "y": 70, "width": 1}, "person")
    found = backend.answer_hint(7, CONFIG, annotated["grace_hopper"], point)
    (region,) = found["result"]
    photo = photos["grace_hopper"]
    mask = read_brush_runs(region["value"]["rle"], photo.mask.shape, "")
    assert iou(mask, photo.mask) > 0.6
    (later,) = backend.answer_hint(7, CONFIG, annotated["grace_hopper"], point)["result"]
    (predicted,) = backend.predict(7, CONFIG, [annotated["grace_hopper"]])
    ids = [one["id"] for one in (region, later, *predicted["result"])]
    assert len(set(ids)) == len(ids) > 2


def test_points_are_prompts_without_examples(make, annotated, photos, segmenter, monkeypatch):
    given = {}
    segmenter_of_model = segmenter.network.promptable
    real = segmenter_of_model.embed_prompts

    def embed(**prompts):
        given.update(prompts)
        return real(**prompts)

    monkeypatch.setattr(segmenter_of_model, "embed_prompts", embed)
    regions = [
        hint("keypointlabels", {"x": 25, "y": 50}, "cat", is_positive=positive)["result"][0]
        for positive in (1, 0)
    ]
    found = make().answer_hint(7, CONFIG, annotated["chelsea"], {"result": regions})
    assert found["model_version"]
    assert given["points"].tolist() == [[[0.25, 0.5], [0.25, 0.5]]]
    assert given["point_labels"].tolist() == [[1, 0]]


def test_box_stays_inside(make, annotated, photos):
    box = hint("rectanglelabels", {"x": 10, "y": 10, "width": 50, "height": 60}, "person")
    (region,) = make().answer_hint(7, CONFIG, annotated["grace_hopper"], box)["result"]
    height, width = photos["grace_hopper"].mask.shape
    rows, columns = np.nonzero(read_brush_runs(region["value"]["rle"], (height, width), ""))
    assert 0.1 * width - 1 <= columns.min() < columns.max() < 0.6 * width + 1
    assert 0.1 * height - 1 <= rows.min() < rows.max() < 0.7 * height + 1


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (hint("keypointlabels", {"x": 50, "y": 50}, "fish"), "no tag draws the label 'fish'"),
        (hint("keypointlabels", {"x": "a"}, "person"), "a number for x"),
        (hint("keypointlabels", {"x": 5, "y": 5}, "person", is_positive=0), "only negative points"),
        ({"result": [{"type": "choices"}]}, "expected a labelled box"),
        ({"result": 5}, "failed"),
    ],
)
def test_bad_hints(make, annotated, caplog, context, message):
    with caplog.at_level(logging.WARNING):
        found = make().answer_hint(7, CONFIG, annotated["chelsea"], context)
    assert found["result"] == []
    assert message in caplog.text


def test_hints_of_every_kind():
    regions = [
        hint("keypointlabels", {"x": 10, "y": 10}, "other"),
        hint("rectanglelabels", {"x": 50, "y": 50, "width": 100, "height": 25}, "cat"),
        hint("ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10}, "cat"),
        hint("keypointlabels", {"x": 50, "y": 50}, "cat", is_positive=1),
        hint("keypointlabels", {"x": 0, "y": 0}, "cat", is_positive=0),
    ]
    found = read_hint({"result": [one["result"][0] for one in regions]}, (40, 80))
    assert found.label == "cat"
    assert found.points == ((40, 20),)
    assert found.against == ((0, 0),)
    box, around = found.boxes
    assert (box.x0, box.y0, box.x1, box.y1) == (40, 20, 80, 30)
    assert (around.x0, around.y0, around.x1, around.y1) == pytest.approx((32, 16, 48, 24), abs=1)


def test_score_is_the_presence_where_there_is_one(segmenter, photos):
    segmenter.fit([(photos["chelsea"].pixels, photos["chelsea"].mask)])
    found = segmenter.predict(read_image(photos["chelsea"].pixels)).classes["thing"]
    presence = getattr(found, "presence", None)
    assert found.confidence == (found.score if presence is None else presence)


def test_predictions_do_not_wait_for_ever(make, annotated, fake_studio, monkeypatch):
    """Label Studio may wait for our prediction before it lists the annotations that we wait for."""
    backend = make()
    version = backend.fit(7).version
    monkeypatch.setattr(backends, "PATIENCE", 0.2)
    gate, reading = threading.Event(), threading.Event()

    def dawdle(_project):
        reading.set()
        gate.wait(100)
        return []

    monkeypatch.setattr(backend.studio, "annotated_tasks", dawdle)
    fit = threading.Thread(target=backend.fit, args=(7,))
    fit.start()
    assert reading.wait(100)
    assert backend.fitted(7).version == version
    assert backend.fitted(8).support is None
    assert fit.is_alive()  # both answers came while it was still reading
    gate.set()
    fit.join()
    assert backend.fitted(7).version != version


def test_a_model_without_a_promptable_segmenter_takes_no_boxes(pfenet):
    hint = Hint("cat", boxes=(Box(1, 1, 9, 9),))
    with pytest.raises(FcpError, match="smart tool: this model takes no boxes and points"):
        find_hinted(
            FewShotSegmenter(pfenet, device="cpu"), np.zeros((20, 20, 3), np.uint8), hint, None
        )
