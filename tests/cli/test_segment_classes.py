"""`fcp segment` with several classes, negatives, objects, tiles, and files for other tools."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from fcp.cli.segment_options import FormatName
from fcp.formats import FORMATS
from fcp.formats.read import read_examples
from fcp.inference.example_quality import Found
from fcp.inference.segmenter import FewShotSegmenter


def save_picture(path, height=40, width=50, seed=0):
    """Write a smooth picture: noise would break a mask into specks."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height)).save(path)


@pytest.fixture
def examples(tmp_path):
    """Two classes, a folder each."""
    for index, name in enumerate(("cat", "dog")):
        folder = tmp_path / "examples" / name
        save_picture(folder / "a.png", seed=100 + index)
        mask = np.zeros((40, 50), dtype=bool)
        mask[5 + 10 * index : 30, 10:30] = True
        Image.fromarray(mask).save(folder / "a_mask.png")
    return tmp_path / "examples"


@pytest.fixture
def photos(tmp_path):
    for index in range(3):
        save_picture(tmp_path / "photos" / f"p{index}.png", 30 + 7 * index, 60, seed=index)
    return tmp_path / "photos"


def pairs_of(examples):
    return {n: [(examples / n / "a.png", examples / n / "a_mask.png")] for n in ("cat", "dog")}


@pytest.fixture
def segmenter(model_folder, examples):
    loaded = FewShotSegmenter.from_pretrained(model_folder, device="cpu")
    return loaded.fit(pairs_of(examples), appearance="off")


def records(out):
    content = json.loads((out / "results.json").read_text())
    return {Path(record["file"]).name: record for record in content["results"]}


def test_the_command_knows_every_format():
    assert list(FormatName) == list(FORMATS)


def test_several_classes_make_one_label_map(run, segmenter, examples, photos, tmp_path):
    done = run(appearance="auto")
    assert done.exit_code == 0, done.output
    decided = segmenter.fit(pairs_of(examples)).fitted.decisions
    told = json.loads((tmp_path / "out/results.json").read_text())["appearance"]
    assert {name: one["share"] for name, one in told.items()} == {
        name: one.share for name, one in decided.items()
    }
    assert (tmp_path / "out/masks/classes.txt").read_text().split() == ["background", "cat", "dog"]
    for name, record in records(tmp_path / "out").items():
        found = segmenter.predict(photos / name)
        labels = np.asarray(Image.open(tmp_path / "out" / record["mask"]))
        np.testing.assert_array_equal(labels, found.labels)
        for of_class, one in found.classes.items():
            assert record["classes"][of_class]["score"] == pytest.approx(one.score, abs=1e-3)
            assert record["classes"][of_class]["area_px"] == one.mask.sum()
    report = (tmp_path / "out/report.html").read_text()
    assert all(name in report for name in ("cat", "dog", "p0.png"))


def test_one_of_the_classes_can_be_chosen(run, tmp_path):
    assert run("--class", "dog").exit_code == 0
    assert all(list(r["classes"]) == ["dog"] for r in records(tmp_path / "out").values())
    unknown = run("--class", "yak")
    assert (unknown.exit_code, "it has: cat, dog" in unknown.stderr) == (1, True)


def test_masks_without_a_name_take_the_one_that_is_given(run, examples, tmp_path):
    assert run("--class", "wild boar", support=examples / "cat").exit_code == 0
    assert list(records(tmp_path / "out")["p0.png"]["classes"]) == ["wild boar"]


def test_negative_examples_are_looked_for_and_not_told(run, segmenter, examples, photos, tmp_path):
    done = run("--negative", examples / "dog", support=examples / "cat")
    assert done.exit_code == 0, done.output
    for name, record in records(tmp_path / "out").items():
        mask = np.asarray(Image.open(tmp_path / "out" / record["mask"])) > 0
        np.testing.assert_array_equal(mask, segmenter.predict(photos / name).labels == 1)


@pytest.mark.parametrize("limits", [(), ("--instances", "--min-area", "40")])
def test_files_for_other_tools_say_what_the_masks_say(run, photos, tmp_path, capsys, limits):
    out = tmp_path / "out"
    formats = [part for name in FORMATS for part in ("--format", name)]
    done = run(*formats, *limits)
    assert done.exit_code == 0, done.output
    api = COCO(out / "coco.json")
    capsys.readouterr()
    assert [image["file_name"] for image in api.imgs.values()] == ["p0.png", "p1.png", "p2.png"]
    for image in api.imgs.values():
        labels = np.asarray(Image.open(out / "masks" / image["file_name"]))
        painted = np.zeros_like(labels)
        for annotation in api.imgToAnns[image["id"]]:
            painted[api.annToMask(annotation) == 1] = annotation["category_id"]
        np.testing.assert_array_equal(painted, labels)
        np.testing.assert_array_equal(
            np.asarray(Image.open(out / "labels" / image["file_name"])), labels
        )
        classes = records(out)[image["file_name"]]["classes"].values()
        assert [one["area_px"] for one in classes] == [(labels == 1).sum(), (labels == 2).sum()]
        assert painted.any()
    for name in ("cvat.xml", "label-studio.json", "yolo/labels/p2.txt", "labelme/p1.json"):
        assert (out / name).is_file(), name


def test_objects_are_recorded_and_written_one_by_one(run, tmp_path):
    done = run("--instances", "--format", "coco")
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "out/coco.json").read_text())
    objects = 0
    for image in written["images"]:
        found = records(tmp_path / "out")[image["file_name"]]["classes"]
        recorded = [
            (number, one)
            for number, name in ((1, "cat"), (2, "dog"))
            for one in found[name]["objects"]
        ]
        of_image = [one for one in written["annotations"] if one["image_id"] == image["id"]]
        for annotation, (category, one) in zip(of_image, recorded, strict=True):
            x0, y0, x1, y1 = one["box"]
            assert annotation["category_id"] == category
            assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert annotation["score"] == one["score"] >= 0.1
        objects += len(recorded)
    assert objects > 3


def test_what_was_written_is_read_as_examples(run, photos, tmp_path):
    run("--format", "coco")
    (tmp_path / "out/coco.json").rename(photos / "coco.json")
    read = read_examples(photos)
    covered = [
        name
        for name in ("cat", "dog")
        if any(record["classes"][name]["area_px"] for record in records(tmp_path / "out").values())
    ]
    assert sorted(read) == covered


def test_resume_writes_formats_that_were_not_asked_before(run, tmp_path, monkeypatch):
    assert run("--format", "coco").exit_code == 0
    whole = (tmp_path / "out/coco.json").read_bytes()
    (tmp_path / "out/coco.json").unlink()
    monkeypatch.setattr(FewShotSegmenter, "from_pretrained", None)
    done = run("--resume", "--format", "coco", "--format", "png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out/coco.json").read_bytes() == whole
    assert (tmp_path / "out/labels/p0.png").is_file()


def test_files_that_a_later_run_does_not_renew_are_named(run, photos, picture):
    assert run("--format", "coco", "--format", "yolo").exit_code == 0
    assert "left as they are" not in run("--resume").stderr  # nothing is new
    picture(photos / "p9.jpg", 30, 30)
    said = " ".join(run("--resume", "--format", "coco").stderr.split())
    assert "yolo/: of the earlier run, and left as they are; to renew them" in said
    assert "coco.json" not in said


@pytest.mark.parametrize("more", [("--tile", 30), ("--instances",), ("--class", "cat")])
def test_resume_with_another_question_does_all_again(run, more):
    run()
    assert "changed since the earlier run" in run("--resume", *more).stderr


def test_tiles_are_used_and_a_photo_for_which_they_are_too_small_fails_alone(
    run, segmenter, examples, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr("fcp.inference.tiling.MOST_CANVAS", 20_000)
    done = run("--tile", 20)
    found = records(tmp_path / "out")
    assert (done.exit_code, found["p0.png"]["error"]) == (1, None)
    assert found["p2.png"]["error"].startswith(f"{photos / 'p2.png'}: tile: 20 px are too few")
    labels = np.asarray(Image.open(tmp_path / "out/masks/p0.png"))
    segmenter.fit(pairs_of(examples), tile=20, appearance="off")
    np.testing.assert_array_equal(labels, segmenter.predict(photos / "p0.png").labels)


@pytest.mark.parametrize("tile", ["0", "-3", "big", "1.5"])
def test_a_tile_is_px_auto_or_off(run, tile):
    done = run(f"--tile={tile}")
    assert (done.exit_code, "expected a side in px, auto or off" in done.stderr) == (1, True)


def test_small_things_choose_their_tiles_unless_told_not_to(run, examples, tmp_path, monkeypatch):
    chosen = []
    fit = FewShotSegmenter.fit

    def watched(self, *given, **more):
        fit(self, *given, **more)
        chosen.append(self.support.tile)

    monkeypatch.setattr(FewShotSegmenter, "fit", watched)
    for index, name in enumerate(("cat", "dog")):
        save_picture(examples / name / "a.png", 400, 500, seed=100 + index)
        mask = np.zeros((400, 500), dtype=bool)
        mask[100:120, 100:120] = True
        Image.fromarray(mask).save(examples / name / "a_mask.png")
    assert run().exit_code == 0
    assert run("--tile", "off", "--overwrite").exit_code == 0
    assert chosen == [80, None]


def test_whole_photos_go_in_batches(run, monkeypatch):
    sizes = []
    predict = FewShotSegmenter.predict_batch

    def counted(self, images, **how):
        images = list(images)
        sizes.append(len(images))
        return predict(self, images, **how)

    monkeypatch.setattr(FewShotSegmenter, "predict_batch", counted)
    assert run("--batch-size", 3).exit_code == 0
    assert sizes == [3]


def test_a_class_that_is_not_there_gets_no_mask(run, model_folder, tmp_path, monkeypatch):
    from fcp.inference.presence import Presence

    folder = tmp_path / "judging"
    shutil.copytree(model_folder, folder)
    never = Presence((16, 32, 56, 112, 112), torch.zeros(2, 328), torch.zeros(41), -2.0, 0.3, {})
    never.save(folder)
    done = run("--model", folder)
    assert done.exit_code == 0, done.output
    for record in records(tmp_path / "out").values():
        for found in record["classes"].values():
            assert (found["area_px"], found["score"]) == (0, 0)
            assert found["presence"] == pytest.approx(0.1192, abs=1e-4)
    assert "not here" in (tmp_path / "out/report.html").read_text()
    assert (
        "changed since the earlier run"
        in run("--model", folder, "--threshold", 0.1, "--resume").stderr
    )
    assert any(
        found["area_px"]
        for r in records(tmp_path / "out").values()
        for found in r["classes"].values()
    )


def test_a_threshold_needs_a_model_that_can_judge(run):
    done = run("--threshold", 0.5)
    assert (done.exit_code, "cannot judge presence" in done.stderr) == (1, True)


def others_find(monkeypatch, found):
    """Let a class of as many examples be found like this, and others not be judged."""
    monkeypatch.setattr(
        "fcp.inference.class_encoding.leave_one_out",
        lambda model, seen, *_: found if len(seen) == len(found) else [],
    )


@pytest.mark.parametrize("option", ["--min-area", "--min-score", "--threshold"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_what_is_no_finite_number_is_refused_at_once(run, tmp_path, option, value):
    done = run(option, value)
    assert done.exit_code == 2
    assert option in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_odd_examples_are_named_and_recorded(run, examples, tmp_path, monkeypatch):
    save_picture(examples / "cat" / "b.png", seed=7)
    mask = np.zeros((40, 50), dtype=bool)
    mask[30:, 40:] = True
    Image.fromarray(mask).save(examples / "cat" / "b_mask.png")
    others_find(monkeypatch, [Found(0.9, 0.8), Found(0.01, None)])
    done = run()
    assert done.exit_code == 0, done.output
    warned = " ".join(done.stderr.split())
    assert f"{examples / 'cat' / 'b.png'}: is its mask correct" in warned
    assert "find it with an IoU of 0.01" in warned
    assert "a.png: is its mask correct" not in warned
    kept = json.loads((tmp_path / "out/results.json").read_text())["examples"]
    assert [(one["iou"], one["presence"], one["is_odd"]) for one in kept["cat"]] == [
        (0.9, 0.8, False),
        (0.01, None, True),
    ]
    assert "dog" not in kept  # one example has no others
    again = run("--resume")
    assert again.exit_code == 0
    assert json.loads((tmp_path / "out/results.json").read_text())["examples"] == kept


def test_an_example_with_an_inverted_mask_is_named(run, examples, tmp_path, monkeypatch):
    save_picture(examples / "cat" / "b.png", seed=7)
    Image.new("1", (50, 40), 1).save(examples / "cat" / "b_mask.png")
    others_find(monkeypatch, [Found(0.3, None), Found(0.01, None, 0.7)])
    done = run()
    assert done.exit_code == 0, done.output
    odd = examples / "cat" / "b.png"
    assert f"{odd}: is its mask inverted?" in " ".join(done.stderr.split())
    kept = json.loads((tmp_path / "out/results.json").read_text())["examples"]["cat"]
    assert [(one["is_odd"], one["is_inverted"]) for one in kept] == [(False, False), (True, True)]
    assert (
        f'"examples to check (cat)", "{odd} (inverted?)"'
        in (tmp_path / "out/report.html").read_text()
    )


def test_a_mask_that_went_away_is_told_in_the_report(run, tmp_path, monkeypatch):
    from fcp.labelling import export

    original = export.export

    def taken(*args, **how):
        (tmp_path / "out/masks/p1.png").unlink()
        original(*args, **how)

    monkeypatch.setattr(export, "export", taken)
    assert run("--format", "coco").exit_code == 0
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["p0.png", "p2.png"]
    assert "p1.png: " in (tmp_path / "out/report.html").read_text()
