"""What a visitor drew on a photo reaches every download as it is, marked as drawn."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from fcp.app.download import make_download
from fcp.app.drawn import drawn_on, put_over
from fcp.app.examples_tab import ExamplesTab
from fcp.app.marks import Marked
from fcp.app.results_tab import ResultsTab
from fcp.formats import FORMATS
from fcp.formats.examples import Example
from fcp.formats.run_lengths import to_runs
from fcp.labelling.objects import piece_of, pieces_as_objects
from fcp.labelling.photo_results import ClassResult, PictureResult


def mask_of(rows: slice, columns: slice, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


def marked(name, mask, picture=Path("one.png"), *, kind="paint", corrects=False, number=1):
    example = Example(picture, to_runs(mask))
    return Marked(number, name, kind, example, picture, picture.name, corrects)


def record(**classes: ClassResult) -> PictureResult:
    return PictureResult("one.png", "0" * 64, 0.1, "masks/one.png", None, classes)


@pytest.fixture
def run(session, engine):
    run = session.start_run(engine, tile=None, instances=False, appearance="off")
    assert run.finished.wait(600)
    return run


def unpacked(file: Path, folder: Path) -> Path:
    zipfile.ZipFile(file).extractall(folder)
    return folder


def test_what_is_drawn_replaces_what_was_found():
    labels = np.ones((40, 60), np.uint8)
    labels[:, 30:] = 2
    found = record(cat=ClassResult(0.5, 0.5, 1200, 0.4), dog=ClassResult(0.6, 0.5, 1200, 0.7))
    cat = mask_of(slice(5, 15), slice(20, 40))
    told, put = put_over(found, labels, ["cat", "dog"], [marked("cat", cat)])
    assert ((put == 1) == cat).all()
    assert ((put == 2) == (labels == 2) & ~cat).all()
    assert told.classes["cat"] == ClassResult(1.0, round(200 / 2400, 6), 200, 1.0, None, True)
    assert told.classes["dog"] == ClassResult(0.6, round(1100 / 2400, 6), 1100, 0.7)
    assert put_over(found, labels, ["cat", "dog"], [])[0] == found


def test_a_class_of_which_a_later_drawing_leaves_nothing_is_not_there():
    labels, where = np.zeros((40, 60), np.uint8), mask_of(slice(0, 9), slice(0, 9))
    drawn = [marked("cat", where), marked("dog", where, number=2)]
    judged = record(cat=ClassResult(0.5, 0.1, 240, 0.8), dog=ClassResult(0.5, 0.0, 0))
    told, _ = put_over(judged, labels, ["cat", "dog", "cow"], drawn)
    assert told.classes["cat"] == ClassResult(0.0, 0.0, 0, 0.0, None, True)
    assert told.classes["dog"] == ClassResult(1.0, round(81 / 2400, 6), 81, None, None, True)
    assert "cow" not in told.classes


def test_examples_of_a_class_add_up_and_a_correction_is_all_of_it():
    labels = np.ones((40, 60), np.uint8)
    left, right = mask_of(slice(0, 9), slice(0, 9)), mask_of(slice(20, 40), slice(50, 60))
    one, other = marked("cat", left), marked("cat", right, number=2)
    found = record(cat=ClassResult(0.5, 1.0, 2400))
    assert ((put_over(found, labels, ["cat"], [one, other])[1] == 1) == left | right).all()
    last = marked("cat", right, corrects=True, number=3)
    assert ((put_over(found, labels, ["cat"], [one, last])[1] == 1) == right).all()


def test_what_is_not_it_takes_its_pixels_away():
    labels = np.ones((40, 60), np.uint8)
    hole = mask_of(slice(3, 9), slice(3, 9))
    found = record(cat=ClassResult(0.5, 1.0, 2400, objects=pieces_as_objects(labels > 0, 0.5)))
    told, put = put_over(found, labels, ["cat"], [marked(None, hole)])
    assert ((put == 1) == ~hole).all()
    assert (told.classes["cat"].score, told.classes["cat"].by_hand) == (0.5, False)
    assert told.classes["cat"].area_px == 2400 - 36
    assert [piece.box for piece in told.classes["cat"].objects] == [[0, 0, 60, 40]]


def test_objects_that_touch_stay_apart_where_another_drawing_cuts_them():
    labels = np.ones((40, 60), np.uint8)
    parts = [mask_of(slice(0, 40), slice(left, left + 20)) for left in (0, 20, 40)]
    objects = [
        one
        for part, score in zip(parts, (0.9, 0.8, 0.7), strict=True)
        for one in pieces_as_objects(part, score)
    ]
    found = record(cat=ClassResult(0.5, 1.0, 2400, objects=objects))
    drawn = [marked(None, mask_of(slice(0, 10), slice(0, 25))), marked("dog", parts[2], number=2)]
    told, put = put_over(found, labels, ["cat", "dog"], drawn)
    first, second = told.classes["cat"].objects
    assert [(one.box, one.score) for one in (first, second)] == [
        ([0, 10, 20, 40], 0.9),
        ([20, 0, 40, 40], 0.8),
    ]
    assert (piece_of(second, (40, 60)).full_mask() == parts[1] & (put == 1)).all()


def test_boxes_and_clicks_are_no_masks(tmp_path):
    mask = mask_of(slice(3, 9), slice(3, 9))
    kinds = {kind: marked("cat", mask, kind=kind) for kind in ("paint", "outline", "box", "click")}
    drawn = drawn_on([record()], list(kinds.values()))
    assert drawn == {"one.png": [kinds["paint"], kinds["outline"]]}
    elsewhere = marked("cat", mask, tmp_path / "gone.png")
    assert drawn_on([record()], [elsewhere]) == {"one.png": []}
    nameless = replace(record(), sha256=None)
    assert drawn_on([nameless], [elsewhere]) == {"one.png": []}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_correction_is_in_every_download(session, run, visits, asking, tmp_path, kind):
    with gr.Blocks():
        examples, results = ExamplesTab(visits), ResultsTab(visits)
    session.chosen = "one"
    results.put_for_correction("cat", asking)
    paint = np.zeros((40, 60, 4), np.uint8)
    paint[10:30, 20:50] = 255
    examples.add_example({"layers": [paint]}, "cat", "paint", False, asking)
    file = results.make_file(kind, False, 0.99, asking)["value"]  # whatever the slider says
    folder = unpacked(Path(file), tmp_path / kind)
    (told,) = json.loads((folder / "results.json").read_text())["results"]
    cat = told["classes"]["cat"]
    assert (told["file"], cat["by_hand"], cat["area_px"]) == ("one.png", True, 600)
    if kind == "png":
        with Image.open(folder / "labels" / "one.png") as image:
            assert ((np.asarray(image) == 1) == (paint[..., 0] > 0)).all()
    elif kind == "coco":
        (one,) = json.loads((folder / "coco.json").read_text())["annotations"]
        assert "score" not in one
        assert (one["area"], one["bbox"]) == (600, [20, 10, 30, 20])
    elif kind == "cvat":
        assert 'source="manual"' in (folder / "cvat.xml").read_text()
    elif kind == "label-studio":
        (task,) = json.loads((folder / "label-studio.json").read_text())
        (region,) = task["predictions"][0]["result"]
        assert region["origin"] == "manual"
        assert "score" not in region


def test_no_later_run_and_no_second_look_changes_it(session, run, engine, visits, asking, tmp_path):
    with gr.Blocks():
        results = ResultsTab(visits)
    mask = mask_of(slice(10, 30), slice(20, 50))
    session.marked.append(marked("cat", mask, session.photos[0], corrects=True, number=9))
    again = session.start_run(engine, tile=None, instances=True, appearance="off")
    assert again.finished.wait(600)
    session.chosen = "one"
    update, *_ = results.put_for_correction("cat", asking)
    with Image.open(update["value"]["layers"][0]) as layer:
        assert ((np.asarray(layer)[..., -1] > 0) == mask).all()
    file = make_download(again, "png", 0.0, tmp_path / "download", marked=session.marked)
    with Image.open(unpacked(file, tmp_path / "out") / "labels" / "one.png") as image:
        assert ((np.asarray(image) == 1) == mask).all()


def test_an_example_that_is_among_the_photos_keeps_its_mask(session, engine, tmp_path):
    mask = mask_of(slice(1, 11), slice(2, 22))
    own = session.examples_in.folder / "own.png"
    shutil.copy(session.photos[0], own)  # uploaded twice, under another name
    session.marked.append(marked("bird", mask, own, number=9))
    run = session.start_run(engine, tile=None, instances=False, appearance="off")
    assert run.finished.wait(600)
    file = make_download(run, "png", 0.0, tmp_path / "download", marked=session.marked)
    folder = unpacked(file, tmp_path / "out")
    label = run.task.names.index("bird") + 1
    with Image.open(folder / "labels" / "one.png") as image:
        assert ((np.asarray(image) == label) == mask).all()
    told = json.loads((folder / "results.json").read_text())["results"]
    assert {one["file"]: one["classes"]["bird"]["by_hand"] for one in told}["one.png"]


def test_a_class_that_only_a_person_named_is_in_the_download(session, run, tmp_path):
    mask = mask_of(slice(1, 11), slice(2, 22))
    session.marked.append(marked("bird", mask, session.photos[0], number=9))
    file = make_download(run, "png", 0.0, tmp_path / "download", marked=session.marked)
    folder = unpacked(file, tmp_path / "out")
    assert (folder / "labels" / "classes.txt").read_text().splitlines()[-1].endswith("bird")
    with Image.open(folder / "labels" / "one.png") as image:
        assert ((np.asarray(image) == 3) == mask).all()
