"""`fcp demo`: one page that needs nothing else, from photos that installed packages carry."""

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import fcp.cli.demo
from fcp import FewShotSegmenter
from fcp.cli.demo import DemoView, demo_mask, demo_photo
from fcp.cli.demo_page import SceneResult, verdict
from fcp.cli.main import app

SCENES = json.loads((Path(str(files("fcp") / "demo" / "scenes.json"))).read_text("utf-8"))


@pytest.fixture(scope="module")
def photos():
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    return {name: demo_photo(**photo) for name, photo in SCENES["photos"].items()}


def demo(*arguments):
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


@pytest.mark.parametrize("name", ["demo.html", "demo.png"])
def test_a_file_of_ones_own_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")
    done = demo("--out", tmp_path)
    assert done.exit_code == 1
    assert f"{name}: is no file of fcp demo; choose another --out" in " ".join(done.stderr.split())
    assert (tmp_path / name).read_text() == "mine"


def test_page_and_strip(photos, tmp_path, model_folder):
    done = demo("--out", tmp_path / "deep" / "page", "--model", model_folder, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "deep" / "page" / "demo.html") in done.stdout.replace("\n", "")
    page = (tmp_path / "deep" / "page" / "demo.html").read_text("utf-8")
    assert page.count("<section>") == len(SCENES["scenes"])
    assert "$" not in page
    titles = [group["title"] for group in SCENES["groups"].values()]
    rest = page
    for key, title in zip(SCENES["groups"], titles, strict=True):
        rest = rest.partition(f"<h2>{title}</h2>")[2]
        of_group = re.split("<h2>", rest)[0]
        expected = [s["title"] for s in SCENES["scenes"] if s["group"] == key]
        assert re.findall("<h3>(.*)</h3>", of_group) == expected
        assert expected
    masked = [
        s for s in SCENES["scenes"] if s["query"]["photo"] not in ("camera", "motorcycle_right")
    ]
    assert page.count("IoU with our mask") == len(masked)
    supports = sum(len(scene["supports"]) for scene in SCENES["scenes"])
    inlined = re.findall(r'src="data:image/jpeg;base64,', page)
    assert len(inlined) == len(re.findall("src=", page)) == supports + 4 * len(SCENES["scenes"])
    assert all(photo["credit"] in page for photo in SCENES["photos"].values())
    assert len(page) < 5e6
    assert Image.open(tmp_path / "deep" / "page" / "demo.png").width > 600


def test_every_example_has_a_mask_of_its_size_that_its_view_shows(photos):
    for scene in SCENES["scenes"]:
        for support in scene["supports"]:
            view = DemoView(**support)
            mask = view.of(demo_mask(view.photo, photos[view.photo]))
            assert mask.shape == view.of(photos[view.photo]).shape[:2]
            assert 0.05 < mask.mean() < 0.9


@pytest.mark.parametrize(
    ("found", "iou", "said"),
    [
        (1.0, 1.0, ", 100 % IoU with our mask"),
        (0.25, 0.25, ", 25 % IoU with our mask: <b>a failure"),
    ],
)
def test_a_failure_is_called_one(found, iou, said):
    truth = np.ones((4, 4), bool)
    mask = np.arange(16).reshape(4, 4) < 16 * found
    prediction = SimpleNamespace(mask=mask)
    result = SceneResult("t", "g", "n", False, [], np.zeros((4, 4, 3)), truth, prediction, 0.1)
    assert result.iou == iou
    assert verdict(result).startswith(said)
    assert verdict(replace(result, truth=None)) == ""


@pytest.mark.parametrize(
    ("example", "photo"), [("astronaut", "grace_hopper"), ("grace_hopper", "astronaut")]
)
def test_the_shipped_model_finds_a_portrait_from_the_other(photos, example, photo):
    masks = {name: demo_mask(name, photos[name]) for name in (example, photo)}
    segmenter = FewShotSegmenter.from_pretrained("tiny", device="cpu")
    found = segmenter.fit([(photos[example], masks[example])]).predict(photos[photo]).mask
    assert (found & masks[photo]).sum() / (found | masks[photo]).sum() > 0.7


def test_view_crops_and_then_mirrors():
    pixels = np.arange(12).reshape(3, 4)
    assert (DemoView("x").of(pixels) == pixels).all()
    assert (DemoView("x", crop=(1, 0, 3, 2), mirror=True).of(pixels) == [[2, 1], [6, 5]]).all()


def test_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(fcp.cli.demo, "find_spec", lambda name: None)
    done = demo("--out", tmp_path)
    assert done.exit_code == 1
    assert "pip install '.[demo]'" in done.stderr


def test_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    done = demo("--out", tmp_path / "file")
    assert done.exit_code == 1
    assert "choose another --out" in done.stderr
