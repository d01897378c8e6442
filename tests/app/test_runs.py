"""Runs, their gallery, their reasons and their downloads, with a small model of random weights."""

from __future__ import annotations

import json
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fcp.app import why
from fcp.app.download import TITLES, make_download
from fcp.app.gallery import PAGE, arrange, facts, pages, pictures_of, summary, view
from fcp.app.limits import Limits
from fcp.app.runs import PhotoRun, Queue, make_task
from fcp.app.sessions import SessionStore
from fcp.app.small import Smaller, only, pale
from fcp.data.images import label_png, read_image, read_labels
from fcp.data.prompts import Points, annotation_mask
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.examples import Example
from fcp.formats.read import read_examples
from fcp.labelling.photo_results import ClassResult, PictureResult


def finished(session, engine, **options) -> PhotoRun:
    """Run over the photos; without the appearance, whose fit would take most of the time."""
    usual = {"tile": None, "instances": False, "appearance": "off"}
    run = session.start_run(engine, **usual | options)
    assert run.finished.wait(60)
    return run


def test_run_does_all_photos_and_tells_the_bad_one(session, engine):
    run = finished(session, engine)
    assert run.error is None
    assert [Path(r.file).stem for r in run.records() if r.error is None] == ["one", "two"]
    bad = run.records()[2]
    assert session.public_text(FcpError(bad.error)).startswith("bad.png: damaged")
    assert session.finished_run() is run
    shown = arrange(run.records(), run.originals, 2.0)
    assert summary(run, shown) == "0 found, 2 not here, 1 could not be read"


def test_run_says_the_same_as_the_segmenter_alone(session, engine):
    run = finished(session, engine, appearance="auto")
    segmenter = engine.segmenter()
    segmenter.fit(
        {
            name: [
                (one.example.picture, one.example.annotation)
                for one in session.marked
                if one.class_name == name
            ]
            for name in ("cat", "dog")
        }
    )
    for record in run.records()[:2]:
        alone = segmenter.predict(record.file)
        assert (read_labels(run.folder / record.mask) == alone.labels).all()
        for name, found in alone.classes.items():
            assert record.classes[name].score == pytest.approx(found.score, abs=1e-4)


def test_two_visitors_take_turns_and_do_not_mix(session, engine, add, tmp_path, picture):
    other = SessionStore(tmp_path / "other", Limits()).begin("b")
    add(other, "bird", picture(40, 60, 20))
    other.photos = [other.photos_in.folder / "one.png"]
    other.photos[0].write_bytes(picture(40, 60, 10))
    runs = [s.start_run(engine, tile=None, instances=False) for s in (session, other)]
    assert all(run.finished.wait(60) for run in runs)
    assert [list(run.records()[0].classes) for run in runs] == [["cat", "dog"], ["bird"]]
    assert str(session.folder) not in runs[1].results.path.read_text()


def test_second_run_replaces_the_first_and_not_while_it_goes_on(session, engine):
    first = finished(session, engine)
    with engine.lock:
        second = session.start_run(engine, tile=None, instances=False)
        with pytest.raises(FcpError, match="a run is in progress"):
            session.start_run(engine, tile=None, instances=False)
        with pytest.raises(FcpError, match="no results yet"):
            session.finished_run()
    assert second.finished.wait(60)
    assert not first.folder.exists()


def under_way(session, engine, picture) -> PhotoRun:
    """Start a run over so many photos that it is not done when the first of them is."""
    for n in range(30):
        session.photos.append(session.photos_in.folder / f"more{n}.png")
        session.photos[-1].write_bytes(picture(40, 60, n))
    run = session.start_run(engine, tile=None, instances=False)
    while run.done == 0:
        time.sleep(0.001)
    return run


def test_cancelled_run_keeps_what_is_done(session, engine, picture):
    run = under_way(session, engine, picture)
    run.stop()
    assert run.finished.wait(60)
    assert run.error is None
    assert 0 < run.done < len(run.jobs)
    assert "not done (cancelled)" in summary(run, arrange(run.records(), run.originals, 0))
    written = json.loads(run.results.path.read_text())["results"]
    assert len(written) == run.done


def test_end_of_the_visit_stops_its_run_and_takes_its_folder(session, engine, picture):
    run = under_way(session, engine, picture)
    session.close()
    assert run.finished.wait(60)
    assert run.done < len(run.jobs)
    assert not session.folder.exists()


def test_classes_with_the_same_pixels_are_told(session, engine, add, picture):
    mask = np.zeros((40, 60), bool)
    mask[5:9, 5:9] = True
    for name in ("fox", "wolf"):
        add(session, name, picture(40, 60, 30), mask)
    run = finished(session, engine)
    assert "'fox' and 'wolf' mark the same pixels" in run.error
    assert run.done == 0


def test_tiles_are_used_and_small_ones_refused(session, engine, picture):
    with pytest.raises(FcpError, match="tiles of 199 px are too small"):
        session.start_run(engine, tile=199, instances=False)
    session.photos = session.photos[:1]
    session.photos[0].write_bytes(picture(300, 500))
    assert finished(session, engine, tile=200).results.failed() == 0


def record(name: str, area: int = 1, **scores: float) -> PictureResult:
    classes = {n: ClassResult(score, area / 100, area) for n, score in scores.items()}
    return PictureResult(f"in/{name}.jpg", "0", 0.1, "m", "o", classes)


def test_gallery_is_sorted_and_cut():
    records = [
        record("low", cat=0.2, dog=0.1),
        record("empty", area=0, cat=0.9, dog=0.9),
        record("dog", cat=0.3, dog=0.8),
        record("cat", cat=0.7, dog=0.4),
        PictureResult("in/bad.jpg", None, 0.1, error="bad"),
    ]
    names = {one.file: f"trip/{Path(one.file).name}" for one in records}
    shown = arrange(records, names, 0.5)
    assert [one.stem for one in shown] == ["dog", "cat", "empty", "low"]
    assert [one.here for one in shown] == [("dog",), ("cat",), (), ()]
    assert [one.caption for one in shown] == [
        "dog 0.80 (score) · trip/dog.jpg",
        "cat 0.70 (score) · trip/cat.jpg",
        "not here (score 0.90) · trip/empty.jpg",
        "not here (score 0.20) · trip/low.jpg",
    ]
    assert [one.stem for one in arrange(records, names, 0.5, "cat")] == [
        "cat",
        "empty",
        "dog",
        "low",
    ]
    assert [one.here for one in arrange(records, names, 0)][-1] == ()
    assert facts(records[3], ["cat"]) == [
        ("cat", "–", "0.70", "1.0 %"),
        ("dog", "–", "0.40", "not here"),
    ]
    assert [pages(n) for n in (0, 1, PAGE, PAGE + 1)] == [1, 1, 1, 2]


def test_pictures_follow_the_slider(session, engine):
    run = finished(session, engine)
    found = pictures_of(run, arrange(run.records(), run.originals, 0))
    absent = pictures_of(run, arrange(run.records(), run.originals, 2.0))
    assert len(found) == len(absent) == 2
    assert {file for file, _ in found}.isdisjoint(file for file, _ in absent)
    small = read_image(absent[0][0]).astype(int)
    assert np.ptp(small, axis=-1).max() < 10  # grey
    assert pictures_of(run, arrange(run.records(), run.originals, 2.0)) == absent
    seen = read_image(view(run, arrange(run.records(), run.originals, 0)[0]))
    assert seen.shape in {(40, 60, 3), (60, 40, 3)}


def test_drawings_of_photos_with_alike_names_are_apart(tmp_path, picture):
    (tmp_path / "small").mkdir()
    smaller, colours = Smaller(tmp_path / "small", 2), [(255, 0, 0), (0, 255, 0)]
    stems = ["a", "a-1", "a-1-2", "a-1-shown", "a-shown"]
    for seed, stem in enumerate(stems):
        (smaller.folder / f"{stem}.jpg").write_bytes(picture(8, 8, seed))
        (smaller.folder / f"{stem}.png").write_bytes(label_png(np.ones((8, 8), np.uint8)))
    copies = {path: path.read_bytes() for path in smaller.folder.iterdir()}
    drawn = {
        smaller.drawn(stem, here, colours) for stem in stems for here in ([], [1], [2], [1, 2])
    }
    views = {smaller.place("view", stem, here) for stem in stems for here in ([], [1], [1, 2])}
    assert len(drawn) == 4 * len(stems)
    assert len(drawn | views | set(copies)) == (4 + 3 + 2) * len(stems)
    assert {path: path.read_bytes() for path in copies} == copies


def test_only_and_pale():
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    assert (only(labels, [1, 3]) == [[0, 1], [0, 3]]).all()
    assert (only(labels, []) == 0).all()
    photo = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert (pale(photo) == [[[166] * 3, [255] * 3]]).all()


@pytest.mark.parametrize("instances", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_can_be_downloaded(session, engine, tmp_path, kind, instances):
    assert set(TITLES) == set(FORMATS)
    run = finished(session, engine, instances=instances)
    file = make_download(run, kind, 0.0, tmp_path / "download", photos=True)
    with zipfile.ZipFile(file) as archive:
        inside = archive.namelist()
        archive.extractall(tmp_path / "unpacked")
    assert "results.json" in inside
    folder = "yolo/images" if kind == "yolo" else "photos"
    assert {f"{folder}/one.png", f"{folder}/two.png"} <= set(inside)
    text = "".join(
        p.read_text("utf-8")
        for p in (tmp_path / "unpacked").rglob("*.*")
        if p.suffix in {".json", ".xml", ".txt", ".yaml"}
    )
    assert str(session.folder.parent) not in text
    assert "bad.png" not in text


@pytest.mark.parametrize("kind", ["yolo", "labelme"])
def test_download_can_be_read_back_as_examples(session, engine, tmp_path, kind):
    run = finished(session, engine)
    file = make_download(run, kind, 0.0, tmp_path / "download", photos=True)
    zipfile.ZipFile(file).extractall(tmp_path / "unpacked")
    back = read_examples(tmp_path / "unpacked" / kind)
    for number, name in enumerate(["cat", "dog"], start=1):
        for example in back.get(name, []):
            labels = read_labels(run.folder / "masks" / f"{example.picture.stem}.png")
            wanted, got = labels == number, example.annotation
            assert (wanted & got).sum() / (wanted | got).sum() > 0.9
    assert back


def test_download_leaves_out_what_is_below_the_slider(session, engine, tmp_path):
    run = finished(session, engine)
    strongest = arrange(run.records(), run.originals, 0)[0]
    file = make_download(run, "png", strongest.strength, tmp_path / "download")
    with zipfile.ZipFile(file) as archive:
        assert [n for n in archive.namelist() if n.endswith(".png")] == [
            f"labels/{strongest.stem}.png"
        ]
        (tmp_path / "map.png").write_bytes(archive.read(f"labels/{strongest.stem}.png"))
        told = json.loads(archive.read("results.json"))["results"]
    best = max(strongest.record.classes, key=lambda n: strongest.record.classes[n].score)
    number = run.task.names.index(best) + 1
    assert set(np.unique(read_labels(tmp_path / "map.png"))) <= {0, number}
    assert [(one["file"], list(one["classes"])) for one in told] == [
        (f"{strongest.stem}.png", [best])
    ]
    with pytest.raises(FcpError, match="nothing to download"):
        make_download(run, "png", 2.0, tmp_path / "nothing")


@pytest.mark.parametrize("kind", FORMATS)
def test_downloads_keep_the_visitors_names(session, engine, tmp_path, kind):
    session.photos_in.originals.update(
        {session.photos[0]: "trip/【A】 Don't.png", session.photos[1]: "back/【A】 Don't.png"}
    )
    run = finished(session, engine)
    file = make_download(run, kind, 0.0, tmp_path / "download", photos=True)
    with zipfile.ZipFile(file) as archive:
        inside = set(archive.namelist())
        told = json.loads(archive.read("results.json"))["results"]
        text = b"".join(archive.read(n) for n in inside if n.endswith((".json", ".xml")))
    assert not any(str(of_the_server).encode() in text for of_the_server in (tmp_path, Path.cwd()))
    assert [one["file"] for one in told] == ["trip/【A】 Don't.png", "back/【A】 Don't.png"]
    if kind == "yolo":
        stems = {Path(n).stem for n in inside if n.startswith("yolo/images/")}
        assert stems == {"【A】 Don't", "two"}
        assert stems == {Path(n).stem for n in inside if n.startswith("yolo/labels/")}
    else:
        assert {"photos/trip/【A】 Don't.png", "photos/back/【A】 Don't.png"} <= inside
    if kind in {"coco", "cvat"}:
        assert b"trip/" in text
        assert b"back/" in text


def test_photos_that_were_removed_are_told(session, engine, tmp_path):
    run = finished(session, engine)
    session.remove_photos()
    with pytest.raises(FcpError, match=r"one.png: was removed, .* or upload and run them again"):
        make_download(run, "coco", 0.0, tmp_path / "with", photos=True)
    assert make_download(run, "coco", 0.0, tmp_path / "without").is_file()
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["fcp-coco.zip"]


def test_download_that_fails_leaves_nothing(session, engine, tmp_path, monkeypatch):
    run = finished(session, engine)

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(FcpError, match=r"cannot be written \(No space left on device\)"):
        make_download(run, "png", 0.0, tmp_path / "download", photos=True)
    assert not (tmp_path / "download").exists()


def test_file_that_cannot_be_written_is_told(session, engine, tmp_path):
    run = finished(session, engine)
    (tmp_path / "file").touch()
    with pytest.raises(FcpError, match="the download cannot be written"):
        make_download(run, "png", 0.0, tmp_path / "file" / "download")


def test_reason_asks_each_example_alone(session, engine):
    run = finished(session, engine)  # no appearance: the dogs' would be learnt against the cats
    photo = session.photos[0]
    reason = why.explain(run, photo, "cat")
    assert {one.marked.number for one in reason.alone} == {1, 3}
    agreements = [one.agreement for one in reason.alone]
    assert agreements == sorted(agreements, reverse=True)
    segmenter = engine.segmenter()
    pairs = {one.number: (one.example.picture, one.example.annotation) for one in session.marked}
    for one in reason.alone:
        alone = {"cat": [pairs[one.marked.number]], "dog": [pairs[2], pairs[4]]}
        segmenter.fit(alone, appearance="off")
        assert (segmenter.predict(photo).classes["cat"].mask == one.found.mask).all()
    drawn = why.pictures(reason, run, run.folder / "why")
    assert len(drawn) == 4 + 2 * 2
    assert all(Path(file).is_file() for file, _ in drawn)
    assert "Of 2 examples of cat, " in reason.sentence
    with pytest.raises(FcpError, match="did not look for 'bird'"):
        why.explain(run, photo, "bird")


def test_reason_is_of_the_run_whatever_became_of_its_examples(session, engine, add, picture):
    del session.marked[3]
    run = finished(session, engine)
    session.marked.clear()
    add(session, "cat", picture(40, 60, 7))
    reason = why.explain(run, session.photos[0], "cat")
    assert {one.marked.number for one in reason.alone} == {1, 3}
    assert "Of 2 examples of cat, " in reason.sentence
    assert "only example of dog" in why.explain(run, session.photos[0], "dog").sentence


def test_reason_shows_the_outline_of_points(session, engine, monkeypatch):
    points = (Points([(12, 12)]),)
    first = session.marked[0]
    example = Example(first.example.picture, points[0], marks=points)
    session.marked[0] = replace(first, example=example)
    found = np.zeros((40, 60), bool)
    found[4:20, 6:33] = True
    monkeypatch.setattr("fcp.inference.examples.outline", lambda *_: found)
    run = finished(session, engine)
    shown = {one.marked.number: one for one in why.explain(run, session.photos[0], "cat").alone}
    assert (shown[1].mask == found | annotation_mask(points[0], (40, 60))).all()
    assert shown[1].drawn.shape == (40, 60, 3)


def test_iou():
    one, other = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)
    assert why.iou(one, other) == pytest.approx(1 / 3)
    assert why.iou(one & other & ~one, one & ~one) == 1


def test_seconds_left(engine, tmp_path):
    task = make_task({"cat": []}, [], tile=None, instances=False)
    run = PhotoRun(engine, task, [Path("a.png"), Path("b.png")], tmp_path / "run")
    assert run.seconds_left() is None
    run.results.pictures["a.png"] = SimpleNamespace()
    assert run.seconds_left() >= 0


def test_what_takes_much_memory_is_done_in_the_order_in_which_it_was_asked_for():
    queue, done = Queue(), []

    def work(number: int) -> None:
        with queue:
            done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    with queue:
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            while len(queue._waiting) <= waiting:
                time.sleep(0.001)
        assert done == []
    for thread in threads:
        thread.join()
    assert done == list(range(6))
