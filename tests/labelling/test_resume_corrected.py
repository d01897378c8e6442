"""Runs that go on after a person has corrected masks, and moved, replaced or copied photos."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcp.data.images import label_png, mask_png
from fcp.errors import FcpError
from fcp.formats import FORMATS
from fcp.formats.examples import Example
from fcp.labelling.photo_results import ClassResult, ObjectResult, PictureResult
from fcp.labelling.photos import Job
from fcp.labelling.results import Results, read_record
from fcp.labelling.resume import known_results, take_over
from fcp.labelling.run import label_folder
from fcp.labelling.start import Request
from fcp.labelling.task import Task

SIZE = (30, 40)


def save_photo(path, seed):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def square(*corners, value=1):
    """Return a map with squares of 5 px at these corners (y, x)."""
    labels = np.zeros(SIZE, np.uint8)
    for y, x in corners:
        labels[y : y + 5, x : x + 5] = value
    return labels


class Run:
    """A finished run over photos a, b, c … whose masks are a square each, without a model."""

    def __init__(self, folder, names="ab", classes=("cup",), **options):
        self.photos, self.out = folder / "photos", folder / "found"
        nothing = np.ones(SIZE, bool)
        self.task = Task({one: [Example(folder / "e.png", nothing, ())] for one in classes})
        self.task = replace(self.task, **options)
        for kind in ("masks", "overlays"):
            (self.out / kind).mkdir(parents=True)
        results = self._results()
        for seed, name in enumerate(names):
            save_photo(self.photos / f"{name}.png", seed)
            results.add([self._record(name)])
        results.save()

    def _results(self):
        return Results(self.out, model="tiny", fingerprint="f")

    def _record(self, name):
        png = mask_png if len(self.task.names) == 1 else label_png
        self.mask(name).write_bytes(png(square((2, 2))))
        Image.new("RGB", (40, 30)).save(self.overlay(name))
        objects = [ObjectResult([2, 2, 7, 7], 0.7, "")] if self.task.instances else None
        found = ClassResult(0.7, 25 / 1200, 25, objects=objects)
        return PictureResult(
            str(self.photo(name)),
            digest(self.photo(name)),
            0.1,
            f"masks/{name}.png",
            f"overlays/{name}.jpg",
            dict.fromkeys(self.task.names, found),
            mask_sha256=digest(self.mask(name)),
            overlay_sha256=digest(self.overlay(name)),
        )

    def photo(self, name):
        return self.photos / f"{name}.png"

    def mask(self, name):
        return self.out / f"masks/{name}.png"

    def overlay(self, name):
        return self.out / f"overlays/{name}.jpg"

    def correct(self, name, labels):
        """Draw a mask in place of the model's."""
        self.mask(name).write_bytes(mask_png(labels))

    def go_on(self, *asked):
        """Return the records by name, and the names of the photos left to do."""
        results, earlier = self._results(), read_record(self.out)
        jobs = [Job(self.photo(name), name) for name in asked]
        known = known_results([job.source for job in jobs], earlier)
        left = take_over(jobs, results, known, self.task)
        results.save()
        records = read_record(self.out).results
        return {Path(one.file).stem: one for one in records}, [job.name for job in left]


def refused(run, *asked):
    before = {path: path.read_bytes() for path in run.out.rglob("*.png")}
    with pytest.raises(FcpError) as caught:
        run.go_on(*asked)
    assert {path: path.read_bytes() for path in run.out.rglob("*.png")} == before
    return str(caught.value)


def test_a_correction_is_taken_and_stays(tmp_path):
    run = Run(tmp_path)
    run.correct("a", square((20, 20), (10, 10)))
    for _ in range(2):
        records, left = run.go_on("a", "b")
        cup = records["a"].classes["cup"]
        assert (left, cup.by_hand, cup.area_px, cup.score, cup.objects) == ([], True, 50, 1, None)
        assert not records["b"].by_hand
    run.overlay("a").unlink()  # drawn again, and the mask is not
    records, left = run.go_on("a", "b")
    assert (left, records["a"].by_hand, run.overlay("a").is_file()) == ([], True, True)


@pytest.mark.parametrize("classes", [("cup",), ("cup", "plate")])
def test_an_object_that_was_erased_is_gone(tmp_path, classes):
    run = Run(tmp_path, classes=classes)
    erased = Image.open(run.mask("a")).convert("RGBA")
    pixels = np.array(erased)
    pixels[pixels[..., :3].any(axis=2)] = 0  # black and transparent, as an eraser leaves it
    Image.fromarray(pixels).convert("LA").save(run.mask("a"))
    records, left = run.go_on("a", "b")
    found = records["a"].classes["cup"]
    assert (left, found.by_hand, found.area_px, found.score) == ([], True, 0, 0)


@pytest.mark.parametrize("mask", ["whole", "missing", "cut short", "corrected", "taken"])
def test_an_overlay_that_was_changed_is_somebodys(tmp_path, mask):
    run = Run(tmp_path)
    if mask == "missing":
        run.mask("a").unlink()
    elif mask == "cut short":
        run.mask("a").write_bytes(b"cut short")
    elif mask in ("corrected", "taken"):
        run.correct("a", square((20, 20)))
    if mask == "taken":
        run.go_on("a", "b")
    Image.new("RGB", (40, 30), "red").save(run.overlay("a"))
    drawn = run.overlay("a").read_bytes()
    said = refused(run, "a", "b")
    assert said.startswith(f"{run.overlay('a')}: was changed after the run; move it away first")
    assert run.overlay("a").read_bytes() == drawn
    run.overlay("a").unlink()
    left = [] if mask in ("corrected", "taken") else ["a"]
    assert run.go_on("a", "b")[1] == left


def test_an_overlay_that_a_stopped_run_has_drawn_or_cut_short_is_nobodys(tmp_path):
    run = Run(tmp_path)
    run.correct("a", square((20, 20)))
    book = (run.out / "results.json").read_bytes()
    run.go_on("a", "b")
    drawn = run.overlay("a").read_bytes()
    (run.out / "results.json").write_bytes(book)  # as if it was stopped before the records
    run.overlay("b").write_bytes(drawn[:100])
    records, left = run.go_on("a", "b")
    assert (left, records["a"].overlay_sha256) == (["b"], digest(run.overlay("a")))
    assert run.overlay("a").read_bytes() == drawn


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize("asked", ["ab", "b"])
def test_a_correction_is_never_taken_for_another_photo(tmp_path, is_taken, asked):
    run = Run(tmp_path)
    run.correct("a", square((20, 20)))
    if is_taken:
        run.go_on("a", "b")
        run.correct("a", square((21, 21)))
    save_photo(run.photo("a"), 99)
    said = refused(run, *asked)
    assert said.startswith(f"{run.photo('a')}: has changed since its mask was corrected; move ")


def test_another_photo_whose_mask_is_the_models_is_segmented_again(tmp_path):
    run = Run(tmp_path)
    save_photo(run.photo("a"), 99)
    assert run.go_on("a", "b")[1] == ["a"]


@pytest.mark.parametrize("colours", ["quantized", "RGB"])
def test_a_label_map_with_another_palette_is_read_by_its_colours(tmp_path, colours):
    run = Run(tmp_path, classes=("cup", "jug"))
    drawn = tmp_path / "drawn.png"
    drawn.write_bytes(label_png(square((20, 20), value=2)))
    picture = Image.open(drawn).convert("RGB")
    (picture.quantize(256) if colours == "quantized" else picture).save(run.mask("a"))
    records, left = run.go_on("a", "b")
    areas = {name: found.area_px for name, found in records["a"].classes.items()}
    assert (left, areas) == ([], {"cup": 0, "jug": 25})
    Image.new("RGB", (40, 30), (1, 2, 3)).save(run.mask("b"))
    said = refused(run, "a", "b")
    assert f"{run.mask('b')}: was changed and is no longer a valid mask of {run.photo('b')}" in said
    assert "(#010203 is the colour of no class; paint" in said


def test_a_correction_is_taken_though_its_photo_is_gone(tmp_path):
    run = Run(tmp_path, "abc", instances=True)
    before = read_record(run.out).results[1]
    run.correct("a", square((20, 20), (10, 10)))
    run.mask("c").write_bytes(b"cut short")
    for name in "abc":
        run.photo(name).unlink()
    save_photo(run.photo("d"), 7)
    records, left = run.go_on("d")
    cup = records["a"].classes["cup"]
    assert (left, cup.by_hand, cup.area_px, cup.score) == (["d"], True, 50, 1)
    assert [one.box for one in cup.objects] == [[10, 10, 15, 15], [20, 20, 25, 25]]
    assert records["a"].mask_sha256 == digest(run.mask("a"))
    assert records["b"] == before
    assert not records["c"].by_hand


def test_records_of_photos_that_are_not_asked_for_are_kept(tmp_path):
    run = Run(tmp_path, "abcd")
    before = {Path(one.file).stem: one for one in read_record(run.out).results}
    save_photo(run.photo("e"), 5)
    failed = PictureResult(str(run.photo("e")), "0", 0.1, error="e.png: damaged")
    gone = PictureResult(str(run.photo("f")), None, 0.1, error="f.png: no such file")
    with Results(run.out, model="tiny", fingerprint="f") as results:
        results.add([*before.values(), failed, gone])
    run.overlay("a").unlink()
    run.mask("b").unlink()
    save_photo(run.photo("c"), 99)
    run.mask("d").unlink()
    run.photo("d").unlink()  # neither photo nor mask: nothing to keep
    save_photo(run.photo("g"), 7)
    records, left = run.go_on("g")
    assert left == ["g"]
    assert records == {**{name: before[name] for name in "abc"}, "e": failed}
    assert run.go_on("a", "b", "c", "e", "g")[1] == ["a", "b", "c", "e", "g"]


def test_a_correction_of_a_photo_that_is_not_asked_for_is_taken(tmp_path):
    run = Run(tmp_path)
    run.correct("a", square((20, 20), (10, 10)))
    records, _ = run.go_on("b")
    assert records["a"].classes["cup"].area_px == 50
    assert records["a"].overlay_sha256 == digest(run.overlay("a"))


def test_copies_of_a_photo_take_a_record_each(tmp_path):
    run = Run(tmp_path, "abc")
    shutil.copy(run.photo("a"), run.photo("b"))
    sha = digest(run.photo("a"))
    earlier = read_record(run.out)
    records = [replace(one, sha256=sha) for one in earlier.results[:2]] + earlier.results[2:]
    moved = run.photos.rename(tmp_path / "moved")
    sources = [(str(moved / f"{name}.png"), None) for name in "abc"]
    known = known_results(sources, replace(earlier, results=records))
    assert list(known) == sources
    masks = [known[source].mask for source in sources]
    assert masks == ["masks/a.png", "masks/b.png", "masks/c.png"]
    # Of two copies, only b has been moved.
    shutil.copy(moved / "a.png", tmp_path)
    there = replace(records[0], file=str(tmp_path / "a.png"))
    known = known_results(sources[1:2], replace(earlier, results=[there, records[1]]))
    assert {one.file: one.mask for one in known.values()} == {
        sources[1][0]: "masks/b.png",
        there.file: "masks/a.png",
    }


def test_a_copy_of_a_photo_that_is_still_there_leaves_it_its_record(tmp_path):
    run = Run(tmp_path, "a")
    (copy := tmp_path / "b.png").write_bytes(run.photo("a").read_bytes())
    (link := tmp_path / "c.png").symlink_to(run.photo("a"))
    earlier = read_record(run.out)
    own = (str(run.photo("a")), None)
    assert list(known_results([(str(copy), None)], earlier)) == [own]
    assert list(known_results([(str(link), None)], earlier)) == [(str(link), None)]
    run.photo("a").unlink()
    assert list(known_results([(str(copy), None)], earlier)) == [(str(copy), None)]


def test_each_piece_of_a_correction_is_an_object(tmp_path):
    run = Run(tmp_path, instances=True)
    run.correct("a", square((20, 20), (10, 10)))
    run.correct("b", square())
    records, _ = run.go_on("a", "b")
    objects = records["a"].classes["cup"].objects
    assert [(one.box, one.score) for one in objects] == [
        ([10, 10, 15, 15], 1),
        ([20, 20, 25, 25], 1),
    ]
    assert records["b"].classes["cup"].objects == []


@pytest.mark.parametrize("is_taken", [False, True])
def test_an_unreadable_photo_with_a_correction_fails_alone(tmp_path, is_taken):
    run = Run(tmp_path)
    whole = run.photo("a").read_bytes()
    run.correct("a", square((20, 20)))
    if is_taken:
        run.go_on("a", "b")
    run.photo("a").write_bytes(whole[:200])
    save_photo(run.photo("c"), 7)
    for _ in range(2):
        records, left = run.go_on("a", "b", "c")
        assert (left, records["b"].error) == (["c"], None)
        said = records["a"].error
        assert said.startswith(f"{run.photo('a')}: damaged")
        assert said.endswith(f"its corrected mask {run.mask('a')} is kept")
    run.correct("a", square((20, 20), (10, 10)))  # the person goes on drawing
    assert run.go_on("b")[0]["a"].error == said
    run.photo("a").write_bytes(whole)
    records, left = run.go_on("a", "b", "c")
    cup = records["a"].classes["cup"]
    assert (left, records["a"].error, cup.by_hand, cup.area_px) == (["c"], None, True, 50)


def test_a_run_goes_on_past_an_unreadable_photo_with_a_correction(tmp_path, model_folder):
    """The whole way, to the files for other tools."""
    save_photo(tmp_path / "e.png", 1)
    for seed, name in enumerate("ab"):
        save_photo(tmp_path / f"photos/{name}.png", seed)
    task = Task({"cup": [Example(tmp_path / "e.png", square((2, 2)) > 0, ())]}, tile=None)
    task = replace(task, appearance="off", instances=True)
    asked = Request([tmp_path / "photos"], tmp_path / "found", task, str(model_folder))
    label_folder(asked, device="cpu")
    for name in "ab":
        (tmp_path / f"found/masks/{name}.png").write_bytes(mask_png(square((20, 20), (10, 10))))
    whole = (tmp_path / "photos/a.png").read_bytes()
    (tmp_path / "photos/a.png").write_bytes(b"\x89PNG cut short")
    again = replace(asked, resume=True, writers=[FORMATS["coco"]])
    done = label_folder(again, device="cpu")
    assert (done.photos, done.failed) == (2, 1)
    coco = json.loads((tmp_path / "found/coco.json").read_text())
    assert [one["file_name"] for one in coco["images"]] == ["b.png"]
    assert [(one["area"], "score" in one) for one in coco["annotations"]] == [(25, False)] * 2
    # What was drawn is not removed, and may be drawn on, until the photo is whole again.
    (tmp_path / "found/masks/a.png").write_bytes(mask_png(square((15, 15))))
    with pytest.raises(FcpError, match=r"masks/.\.png: was changed after the run; move it away"):
        label_folder(replace(asked, overwrite=True), device="cpu")
    (tmp_path / "photos/a.png").write_bytes(whole)
    done = label_folder(again, device="cpu")
    assert (done.done_before, done.failed, done.by_hand) == (2, 0, 2)
    coco = json.loads((tmp_path / "found/coco.json").read_text())
    assert [(one["area"], "score" in one) for one in coco["annotations"]] == [(25, False)] * 3
