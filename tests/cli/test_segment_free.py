"""`fcp segment --model free:…` from end to end on a small random ViT, without any network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.encoders import places
from fcp.engine.labelled import LabelledPictures
from fcp.errors import FcpError
from fcp.formats.examples import Example
from fcp.models import free


@pytest.fixture
def two_classes(tmp_path, picture):
    for name, top in (("cat", 5), ("dog", 20), ("against", 10)):
        folder = tmp_path / ("against" if name == "against" else f"classes/{name}")
        picture(folder / "a.jpg", seed=top)
        mask = np.zeros((40, 50), bool)
        mask[top : top + 15, 10:30] = True
        Image.fromarray(mask).save(folder / "a_mask.png")
    return tmp_path / "classes"


def test_classes_negatives_formats_and_resume(run, tmp_path, two_classes, photos, vit_folder):
    name = f"free:insid3+{vit_folder}"
    asked = ("--negative", tmp_path / "against", "--format", "coco", "--tile", "off")
    done = run(*asked, support=two_classes, model=name)
    assert done.exit_code == 0, done.output
    assert f"presence not calibrated: `fcp calibrate --model {name} --examples" in done.output
    content = json.loads((tmp_path / "out/results.json").read_text())
    assert content["used"]["presence"] == "not calibrated"
    assert [one["classes"]["cat"]["presence"] for one in content["results"]] == [None] * 4
    assert "presence not calibrated" in (tmp_path / "out/report.html").read_text()
    (tmp_path / "out/masks/p1.png").unlink()
    again = run(*asked, "--resume", support=two_classes, model=name)
    assert "3 done before" in again.output
    other = run("--resume", support=two_classes, model=f"free:insid3+{vit_folder.parent}/none")
    assert "none: no such file or folder" in other.output


def test_tiles(run, tmp_path, photos, vit_folder):
    done = run("--tile", 40, query=(photos / "p0.jpg",), model=f"free:insid3+{vit_folder}")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "out/masks/p0.png").size == (60, 30)


def test_free_says_what_it_takes(run, monkeypatch, photos):
    monkeypatch.setattr(free, "free_memory", lambda device: 6.0)
    monkeypatch.setattr(free, "installed_folder", lambda part: None)
    monkeypatch.setattr(free, "find_folder", places.find_folder)
    monkeypatch.setattr(places, "hub_answers", lambda: False)
    monkeypatch.setattr(places, "installed_folder", lambda *_: None)
    done = run(model="free")
    chosen = "free:gf-sam+dinov2-base+sam2.1-hiera-base-plus"
    assert f"--model free is {chosen}: the best that fits 6 GiB" in done.output
    assert "facebook/dinov2-base: not on this machine" in str(done.output)


def test_free_without_a_network_is_told_at_once(command, examples, photos, tmp_path):
    status, errors, imported = command(
        *("segment", "--support", examples, "--query", photos, "--out", tmp_path / "out"),
        *("--model", "free"),
        HF_HOME=str(tmp_path / "hub"),
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HUB_OFFLINE="0",
    )
    assert status == 1
    assert "not on this machine, and the hub cannot be reached" in errors[-1]
    assert len(errors) == 3  # the class's name, the choice, the error
    assert not imported & {"torch", "transformers"}  # each takes seconds


def test_calibrate_says_how_many_pictures_it_found_of_each_class():
    pictures = [Path(f"{number}.png") for number in range(21)]
    shown = {"cat": pictures[:20], "dog": pictures[:3], "cow": pictures[4:]}
    classes = {
        name: [Example(one, np.ones((4, 4), bool)) for one in those]
        for name, those in shown.items()
    }
    message = (
        "at least 5 pictures must show a class and 5 others not, but 20 of 21 pictures show cat, "
        "3 of 21 pictures show dog, 17 of 21 pictures show cow; add pictures"
    )
    with pytest.raises(FcpError, match=message):
        LabelledPictures(classes)
    assert LabelledPictures(classes, [Path("none.png")]).asked == [3]


@pytest.fixture
def labelled(tmp_path):
    """Write 12 labelled pictures of one class, and 12 that show nothing of it."""
    for number in range(24):
        colour = (200, 40, 40) if number % 2 else (40, 40, 200)
        pixels = np.random.default_rng(number).integers(0, 40, (40, 50, 3), dtype=np.uint8)
        pixels[10:30, 10:30] = colour
        folder = tmp_path / ("labelled" if number % 2 else "without")
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        if number % 2:
            mask = np.zeros((40, 50), bool)
            mask[10:30, 10:30] = True
            Image.fromarray(mask).save(folder / f"{number}_mask.png")
    return tmp_path / "labelled"


def test_calibrate_learns_presence_from_a_labelled_folder(
    tmp_path, labelled, vit_folder, model_folder
):
    name = f"free:insid3+{vit_folder}"
    fixed = ["calibrate", "--model", name, "--examples", labelled, "--device", "cpu"]

    def ask(*more):
        return CliRunner().invoke(app, [str(one) for one in (*fixed, *more)])

    out = ("--out", tmp_path / "mine")
    assert "--out:" in ask().output
    assert "12 labelled pictures; at least 20 are needed" in ask(*out).output
    done = ask(*out, "--without", tmp_path / "without", "--pairs", 10)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith(str(tmp_path / "mine/presence.json"))
    judge = json.loads((tmp_path / "mine/presence.json").read_text())
    assert judge["levels"] == [24]
    assert judge["facts"]["left_out"] == "pictures"
    assert json.loads((tmp_path / "mine/config.json").read_text())["format"] == "fcp-free-1"
    # The same model may be calibrated again; another one in the folder would be lost.
    again = ask(*out, "--without", tmp_path / "without", "--pairs", 10)
    assert again.exit_code == 0, again.output
    shutil.copytree(model_folder, tmp_path / "other")
    before = {one: one.read_bytes() for one in (tmp_path / "other").iterdir()}
    lost = ask("--out", tmp_path / "other", "--without", tmp_path / "without")
    assert lost.exit_code == 1
    assert f"other: holds another model than {name}; choose another --out" in lost.output
    assert {one: one.read_bytes() for one in (tmp_path / "other").iterdir()} == before
    from fcp import FewShotSegmenter

    segmenter = FewShotSegmenter.from_pretrained(tmp_path / "mine", device="cpu")
    example = (tmp_path / "labelled/1.png", tmp_path / "labelled/1_mask.png")
    segmenter.fit([example], appearance="off")
    assert 0 < segmenter.predict(tmp_path / "labelled/3.png", threshold=0).presence < 1
