"""`fcp segment` from end to end with a small random model, and everything that can go wrong."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fcp.system.files
from fcp.inference.segmenter import FewShotSegmenter
from fcp.labelling.results import read_record

WHOLE = ("report.html", "results.json")


def records(tmp_path):
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    return {Path(record["file"]).name: record for record in content["results"]}


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def expected_files(names):
    masks = [f"masks/{name}.png" for name in names]
    return sorted([*masks, *(f"overlays/{name}.jpg" for name in names), *WHOLE])


def count_predictions(monkeypatch):
    segmented = []
    original = FewShotSegmenter.predict_batch

    def counted(self, images, **how):
        images = list(images)
        segmented.extend(images)
        return original(self, images, **how)

    monkeypatch.setattr(FewShotSegmenter, "predict_batch", counted)
    return segmented


def test_writes_masks_overlays_and_results(run, tmp_path, model_folder, examples, photos):
    done = run()
    assert done.exit_code == 0, done.output
    assert files_in(tmp_path / "out") == expected_files(["p0", "p1", "p2", "p3"])
    segmenter = FewShotSegmenter.from_pretrained(model_folder, device="cpu")
    segmenter.fit([(examples / "a.jpg", examples / "a_mask.png")], appearance="off")
    for index in range(4):
        found = segmenter.predict(photos / f"p{index}.jpg")
        mask = np.asarray(Image.open(tmp_path / "out" / "masks" / f"p{index}.png"))
        assert (mask == np.where(found.mask, 255, 0)).all()
        overlay = Image.open(tmp_path / "out" / "overlays" / f"p{index}.jpg")
        assert overlay.size == (60, 30 + 7 * index)
        record = records(tmp_path)[f"p{index}.jpg"]
        (of_class,) = record["classes"].values()
        assert of_class["score"] == pytest.approx(found.score, abs=1e-3)
        assert of_class["area"] == pytest.approx(found.mask.mean(), abs=1e-6)
        assert of_class["area_px"] == found.mask.sum()
        assert of_class["objects"] is None
        assert record["seconds"] > 0
        assert record["error"] is None


def test_batches_give_the_same_files(run, tmp_path):
    run()
    single = {name: (tmp_path / "out" / name).read_bytes() for name in expected_files(["p0", "p3"])}
    run("--batch-size", 3)
    for name, content in single.items():
        assert name in WHOLE or (tmp_path / "out" / name).read_bytes() == content


def test_query_takes_files_as_a_shell_expands_them(run, tmp_path, photos):
    done = run("--batch-size", 2, query=(photos / "p2.jpg", photos / "p0.jpg", photos / "p3.jpg"))
    assert done.exit_code == 0, done.output
    assert list(records(tmp_path)) == ["p2.jpg", "p0.jpg", "p3.jpg"]


def test_same_stems_do_not_overwrite_each_other(run, tmp_path, photos, picture):
    picture(photos / "p0.png", 10, 20)
    picture(tmp_path / "other" / "p0.jpg", 15, 25)
    done = run(query=(photos, tmp_path / "other"))
    assert done.exit_code == 0, done.output
    assert len(files_in(tmp_path / "out")) == 2 * 6 + len(WHOLE)
    content = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    sizes = {r["file"]: Image.open(tmp_path / "out" / r["mask"]).size for r in content}
    assert all(Image.open(file).size == size for file, size in sizes.items())


def test_unreadable_photos_are_reported_and_the_rest_goes_on(run, tmp_path, photos):
    (photos / "empty.jpg").touch()
    (photos / "text.png").write_text("no picture")
    (photos / "cut.jpg").write_bytes((photos / "p1.jpg").read_bytes()[:300])
    done = run("--batch-size", 3, query=(photos, photos / "missing.jpg"))
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    found = records(tmp_path)
    for name in ("empty.jpg", "text.png", "cut.jpg", "missing.jpg"):
        assert name in found[name]["error"]
        assert found[name]["error"] in done.stderr
        assert (found[name]["mask"], found[name]["classes"]) == (None, {})
    assert files_in(tmp_path / "out") == expected_files(["p0", "p1", "p2", "p3"])
    assert "8 photos, 4 failed" in done.stdout


def test_bomb_sized_photo_is_reported(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 37 // 2 - 1)
    done = run()
    assert done.exit_code == 1
    assert records(tmp_path)["p0.jpg"]["error"] is None
    assert "more pixels" in records(tmp_path)["p3.jpg"]["error"]


@pytest.mark.parametrize("batch", [1, 3])
def test_resume_does_only_what_is_missing(run, tmp_path, photos, monkeypatch, batch, picture):
    (photos / "p9.jpg").touch()
    assert run().exit_code == 1
    (tmp_path / "out" / "masks" / "p1.png").unlink()
    picture(photos / "p2.jpg", 55, 44, seed=77)
    picture(photos / "p9.jpg", 11, 12)
    segmented = count_predictions(monkeypatch)
    done = run("--resume", "--batch-size", batch)
    assert done.exit_code == 0, done.output
    assert [image.pixels.shape[:2] for image in segmented] == [(37, 60), (55, 44), (11, 12)]
    assert "2 done before" in done.stdout
    assert files_in(tmp_path / "out") == expected_files(["p0", "p1", "p2", "p3", "p9"])
    assert all(record["error"] is None for record in records(tmp_path).values())


def test_resume_with_everything_done_loads_no_model(run, monkeypatch):
    run()
    monkeypatch.setattr(FewShotSegmenter, "from_pretrained", None)
    assert run("--resume").exit_code == 0


def test_resume_after_the_examples_changed_does_all_again(run, examples, monkeypatch):
    run()
    Image.fromarray(np.ones((40, 50), dtype=bool)).save(examples / "a_mask.png")
    segmented = count_predictions(monkeypatch)
    done = run("--resume")
    assert len(segmented) == 4
    assert "changed since the earlier run" in done.stderr


def test_resume_with_another_fusion_does_all_again(run, monkeypatch):
    run("--fusion", "mean")
    segmented = count_predictions(monkeypatch)
    run("--fusion", "mean", "--resume")
    assert not segmented
    assert "changed since the earlier run" in run("--fusion", "pooled", "--resume").stderr
    assert len(segmented) == 4


def test_resume_never_takes_a_namesakes_result(run, tmp_path, photos, monkeypatch, picture):
    picture(tmp_path / "other" / "p0.jpg", 15, 25)
    run()
    run("--resume", query=(tmp_path / "other",))
    segmented = count_predictions(monkeypatch)
    assert (run("--resume", query=(photos / "p0.jpg",)).exit_code, segmented) == (0, [])
    content = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    sizes = {r["file"]: Image.open(tmp_path / "out" / r["mask"]).size for r in content}
    assert [len(sizes), *(Image.open(file).size for file in sizes)] == [5, *sizes.values()]


def errors(done):
    """Return the lines that a command told of, but for the name of the class."""
    return [line for line in done.stderr.splitlines() if "the class is called" not in line]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "fcp-results-4", "results": [1]}'])
def test_resume_on_a_strange_results_file_is_refused(run, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text(content)
    done = run("--resume")
    assert done.exit_code == 1
    assert len(errors(done)) == 1
    assert "results.json" in done.stderr
    assert (tmp_path / "out" / "results.json").read_text() == content


def test_leftovers_of_a_killed_run_are_removed(run, tmp_path):
    run()
    for name in ("masks/.p0.png.abcd1234", "overlays/.p0.jpg.x_y_z_w1", ".results.json.00000000"):
        (tmp_path / "out" / name).touch()
    (tmp_path / "out" / "masks" / "mine.png").touch()
    run("--resume")
    kept = expected_files(["p0", "p1", "p2", "p3"])
    assert files_in(tmp_path / "out") == sorted([*kept, "masks/mine.png"])


def test_full_disk_stops_with_one_line_and_keeps_what_is_done(run, tmp_path, monkeypatch):
    class FullDisk(AbstractContextManager):
        def __init__(self, handle):
            os.close(handle)

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        writelines = write

    opened = []
    original = os.fdopen

    def fdopen(handle, mode):
        opened.append(handle)
        # results.json, two pictures' files (and results.json after the first) still fit.
        return FullDisk(handle) if len(opened) > 6 else original(handle, mode)

    monkeypatch.setattr(fcp.system.files.os, "fdopen", fdopen)
    done = run()
    monkeypatch.undo()
    assert done.exit_code == 1
    assert "No space left on device" in done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.output
    assert not [name for name in files_in(tmp_path / "out") if Path(name).name.startswith(".")]
    before = read_record(tmp_path / "out").results
    assert [(tmp_path / "out" / record.mask).exists() for record in before] == [True, True]
    assert run("--resume").exit_code == 0
    assert files_in(tmp_path / "out") == expected_files(["p0", "p1", "p2", "p3"])


def test_ctrl_c_keeps_what_is_done(run, tmp_path, monkeypatch):
    original = FewShotSegmenter.predict_batch
    calls = []

    def interrupted(self, images, **how):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, images, **how)

    monkeypatch.setattr(FewShotSegmenter, "predict_batch", interrupted)
    done = run()
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.output
    assert list(records(tmp_path)) == ["p0.jpg", "p1.jpg"]
    assert files_in(tmp_path / "out") == sorted({*expected_files(["p0", "p1"])} - {"report.html"})
    segmented = count_predictions(monkeypatch)
    assert run("--resume").exit_code == 0
    assert len(segmented) == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_then_interrupted_then_finished(run, tmp_path, model_folder, examples, picture):
    photos, out = tmp_path / "many", tmp_path / "out"
    picture(photos / "p0.png", 400, 400)
    for index in range(1, 25):
        shutil.copy(photos / "p0.png", photos / f"p{index}.png")
    command = [sys.executable, "-m", "fcp", "segment", "--support", examples, "--query", photos]
    command += ["--out", out, "--model", model_folder, "--device", "cpu", "--resume"]
    command += ["--appearance", "off"]
    # Where a shell runs the tests in the background, they and their children ignore Ctrl-C.
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    masks = 0
    for how in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hears)
        while process.poll() is None and len(list(out.glob("masks/p*.png"))) < masks + 3:
            time.sleep(0.01)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        content = read_record(out).results
        masks = len(list(out.glob("masks/p*.png")))
        assert len(content) < 25
        assert all((out / record.mask).exists() for record in content)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: interrupted")
    assert not [name for name in files_in(out) if Path(name).name.startswith(".")]
    assert run("--resume", query=(photos,)).exit_code == 0
    assert files_in(out) == expected_files([f"p{index}" for index in range(25)])
    # All photos are one: what was done before, between and after the signals is equal to the byte.
    assert len({(out / record.mask).read_bytes() for record in read_record(out).results}) == 1
    assert len({(out / record.overlay).read_bytes() for record in read_record(out).results}) == 1


@pytest.mark.parametrize("place", ["out", "out/masks"])
def test_output_that_cannot_be_a_folder_is_refused_before_any_work(run, tmp_path, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file")
    done = run()
    assert done.exit_code == 1
    assert len(errors(done)) == 1
    assert "choose another --out" in done.stderr


def test_photos_folder_without_pictures(run, tmp_path):
    (tmp_path / "none").mkdir()
    done = run(query=(tmp_path / "none",))
    assert (done.exit_code, "no picture" in done.stderr) == (1, True)
    assert not (tmp_path / "out").exists()


def test_support_folder_without_pairs(run, tmp_path, photos):
    done = run(support=photos)
    assert (done.exit_code, "no example found" in done.stderr) == (1, True)
    assert not (tmp_path / "out").exists()


def test_mask_of_another_size(run, examples):
    Image.fromarray(np.ones((50, 40), dtype=bool)).save(examples / "a_mask.png")
    done = run()
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "a_mask.png" in done.stderr
    assert "40×50" in done.stderr


def test_empty_mask(run, examples):
    Image.fromarray(np.zeros((40, 50), dtype=bool)).save(examples / "a_mask.png")
    done = run()
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "a_mask.png" in done.stderr
    assert "empty" in done.stderr


def test_coco_json_with_a_class(run, tmp_path, examples):
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "iscrowd": 0, "area": 400}
    annotation |= {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "examples/a.jpg", "height": 40, "width": 50}],
                "annotations": [annotation],
                "categories": [{"id": 7, "name": "zebra"}],
            }
        )
    )
    assert run("--class", "zebra", support=tmp_path / "coco.json").exit_code == 0
    done = run("--class", "yak", support=tmp_path / "coco.json")
    assert done.exit_code == 1
    assert "zebra" in done.stderr


def test_model_that_is_none(run, tmp_path, examples):
    done = run(model=tmp_path / "gone")
    assert (done.exit_code, "gone: no such model folder" in done.stderr) == (1, True)
    done = run(model=examples)
    assert (done.exit_code, "config.json" in done.stderr) == (1, True)


def test_a_run_that_failed_at_once_leaves_nothing_in_the_way(run, tmp_path, model_folder):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((model_folder / "config.json").read_text())
    (broken / "model.safetensors").write_bytes(b"no weights")
    done = run(model=broken)
    assert (done.exit_code, "finished photos are kept" in done.stderr) == (1, False)
    done = run(model=model_folder)
    assert done.exit_code == 0, done.output


def test_checkpoint_of_another_architecture(run, tmp_path, model_folder):
    other = tmp_path / "other_model"
    other.mkdir()
    config = json.loads((model_folder / "config.json").read_text())
    config["head"]["tokens"] = 5
    (other / "config.json").write_text(json.dumps(config))
    (other / "model.safetensors").symlink_to(model_folder / "model.safetensors")
    done = run(model=other)
    assert done.exit_code == 1
    assert len(errors(done)) == 1
    assert "model.safetensors" in done.stderr


def test_unknown_device(run):
    done = run("--device", "abacus")
    assert (done.exit_code, "abacus" in done.stderr) == (1, True)
