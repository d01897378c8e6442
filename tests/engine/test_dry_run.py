"""The dry run: counts against the model's own, with and without data, nothing written."""

import re

import pytest
import torch
import yaml
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2Model
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.engine.dry_run import dry_run, measure
from fcp.engine.optim import GroupConfig, OptimConfig
from fcp.engine.train_segmenter import region_sources
from fcp.errors import FcpError

OPTIONS = {"width": 16, "image_size": 64, "decoder_width": 16}
OPTIM = {"iterations": 40, "batch": 2, "learning_rate": 1e-3}


@pytest.fixture
def backbone_folder(tmp_path):
    folder = tmp_path / "backbone"
    MobileNetV2Model(MobileNetV2Config()).save_pretrained(folder)
    return folder


def _measure(tmp_path, data_root, values):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    lines = []
    before = sorted(tmp_path.rglob("*"))
    dry_run(recipe, overrides=(), data_root=data_root, report=lines.append)
    assert sorted(tmp_path.rglob("*")) == before
    return "\n".join(lines)


def _head(backbone_folder, **optim):
    return {
        "stage": "head",
        "fold": 0,
        "backbone_weights": str(backbone_folder),
        "model": {
            "image_size": 64,
            "head": {"width": 16, "tokens": 3},
            "backbone": {"name": "mobilenet_v2"},
            "segmenter": {"name": "tiny", "options": OPTIONS},
        },
        "optim": {**OPTIM, **optim},
    }


class Noise:
    samples_per_epoch = 4

    def __getitem__(self, share):
        return torch.ones(len(share.positions(4)), 65536)


class Perceptron:
    skips_parameters = False

    def __init__(self):
        self.model = nn.Sequential(
            nn.Linear(65536, 8, bias=False), nn.ReLU(), nn.Linear(8, 1, bias=False)
        )
        self.model[2].requires_grad_(False)
        self.batches = Noise()

    def fresh_and_pretrained(self):
        return list(self.model[0].parameters()), []

    def losses(self, batch):
        return {"total": self.model(batch).sum()}


def test_counts_are_those_of_a_model_that_is_known():
    cost = measure(Perceptron(), OptimConfig(batch=4, epochs=3, learning_rate=1e-3), lambda _: None)
    lines = cost.lines()
    assert lines[0] == "524,288 trainable and 8 frozen parameters, 2.0 MiB"
    assert lines[1] == "gradients 2.0 MiB, optimizer 4.0 MiB"
    # the first layer keeps its 4 × 65,536 inputs
    assert lines[2] == "activations 1.0 MiB for the backward pass"
    assert lines[4].startswith("3 steps, ")


def test_each_rule_keeps_its_own_moments():
    optim = OptimConfig(
        batch=4,
        iterations=2,
        learning_rate=1e-3,
        name="sgd",
        groups=[GroupConfig(parameters=["2."], learning_rate=1e-3)],
    )
    stage = Perceptron()
    stage.model[2].requires_grad_(True)
    stage.fresh_and_pretrained = lambda: (list(stage.model.parameters()), [])
    cost = measure(stage, optim, lambda _: None)
    first, last = (4 * stage.model[layer].weight.numel() for layer in (0, 2))
    assert cost.gradient_bytes == first + last
    assert cost.optimizer_bytes == first + 2 * last  # sgd's momentum, adamw's two moments


def test_slow_steps_are_reported_and_patience_ends(monkeypatch):
    monkeypatch.setattr("fcp.engine.dry_run.SLOW", -1)
    monkeypatch.setattr("fcp.engine.dry_run.PATIENCE", -1)
    lines = []
    cost = measure(Perceptron(), OptimConfig(batch=4, epochs=9, learning_rate=1e-3), lines.append)
    assert [re.sub(r"\d+ s$", "… s", line) for line in lines] == [
        "measuring 6 steps",
        "step 1 of 6: … s",
    ]
    assert cost.steps == 9


def test_missing_weights_are_random_and_named(mini_voc, backbone_folder, tmp_path):
    values = {**_head(backbone_folder), "segmenter_folder": "runs/none"}
    here = _measure(tmp_path, mini_voc, {**values, "segmenter_folder": None})
    text = _measure(tmp_path, mini_voc, {**values, "backbone_weights": "google/mobilenet_v2"})
    assert text.splitlines()[0] == (
        "random weights of the same sizes in place of google/mobilenet_v2, runs/none"
    )
    assert text.splitlines()[1:4] == here.splitlines()[0:3]  # sizes of parameters and activations
    values = {"stage": "segmenter", "backbone_weights": "google/mobilenet_v2", "masks": 2}
    text = _measure(tmp_path, mini_voc, {**values, "options": OPTIONS, "optim": OPTIM})
    assert "random weights of the same sizes in place of google/mobilenet_v2" in text


def test_a_large_model_is_announced_and_measured_with_one_sample(
    mini_voc, backbone_folder, tmp_path, monkeypatch
):
    values = {**_head(backbone_folder), "draw": "class"}
    whole = _measure(tmp_path, mini_voc, values)
    monkeypatch.setattr("fcp.engine.dry_run.LARGE", 1000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = _measure(tmp_path, mini_voc, values)
    assert "on a CPU, so large a model is measured with 1 sample a step, not 2" in text
    assert "of one process on cpu with 1 sample a step" in text
    assert "40 steps" in text
    kept = [float(re.search(r"activations ([\d.]+) MiB", t).group(1)) for t in (whole, text)]
    assert kept[1] == pytest.approx(kept[0], rel=0.1)


def test_the_head_is_measured_on_its_own_episodes(mini_voc, backbone_folder, tmp_path):
    text = _measure(tmp_path, mini_voc, _head(backbone_folder))
    assert "random" not in text
    assert "40 steps" in text
    assert re.search(r"peak memory [\d,.]+ MiB of one process on (cpu|cuda)", text)
    assert float(re.search(r"activations ([\d.]+) MiB", text).group(1)) > 0.5


def test_without_data_the_pictures_are_random_and_it_says_so(backbone_folder, tmp_path):
    text = _measure(tmp_path, tmp_path / "none", _head(backbone_folder))
    assert "random pictures" in text
    assert "40 steps" in text
    with pytest.raises(FcpError, match=r"optim\.iterations"):
        _measure(tmp_path, tmp_path / "none", _head(backbone_folder, iterations=None, epochs=2))


def test_only_missing_data_are_replaced(mini_voc, backbone_folder, tmp_path):
    values = _head(backbone_folder)
    with pytest.raises(FcpError, match="fold: expected 0 … 3, got 7"):
        _measure(tmp_path, mini_voc, {**values, "fold": 7})
    for data_root in (mini_voc, tmp_path / "none"):
        with pytest.raises(FcpError, match="benchmark: expected one of"):
            _measure(tmp_path, data_root, {**values, "benchmark": "pascal6i"})
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/VOC2012").symlink_to(mini_voc / "VOC2012")
    text = _measure(tmp_path, tmp_path / "voc", {**values, "region_share": 0.5})
    assert re.search(r"random pictures \(.*BSDS500: no images", text)


def test_a_dry_run_does_not_take_a_feature_cache(mini_voc, tmp_path):
    arguments = ["train", "tiny", "--data-root", str(mini_voc), "--dry-run"]
    refused = CliRunner().invoke(app, [*arguments, "--feature-cache", str(tmp_path / "features")])
    assert refused.exit_code == 1
    assert "--feature-cache: a dry run does not use it; leave it out" in refused.output
    assert not (tmp_path / "features").exists()


def test_the_segmenter_is_measured_without_preparing_regions(mini_voc, backbone_folder, tmp_path):
    values = {
        "stage": "segmenter",
        "backbone_weights": str(backbone_folder),
        "exclude_folds": [1, 2, 3],
        "masks": 2,
        "options": OPTIONS,
        "optim": {**OPTIM, "iterations": None, "epochs": 4},
    }
    text = _measure(tmp_path, mini_voc, values)
    assert "random pictures" in text
    pictures = len(region_sources(mini_voc, (1, 2, 3), objects=False))
    assert f"{2 * pictures} steps" in text  # four epochs, two pictures a step


def test_a_segmenter_that_was_shown_novel_classes_is_refused_as_by_training(tmp_path):
    run = tmp_path / "segmenter"
    run.mkdir()
    (run / "recipe.json").write_text('{"exclude_folds": [1]}')
    further = {"exclude_folds": [0, 1], "start": str(run), "options": OPTIONS, "optim": OPTIM}
    with pytest.raises(
        FcpError, match=r"start: .*classes of fold 0 of PASCAL-5i that should stay novel"
    ):
        _measure(tmp_path, tmp_path, {"stage": "segmenter", **further})
    encoders = {
        "backbone": {"name": "mobilenet_v2"},
        "segmenter": {"name": "tiny", "options": OPTIONS},
    }
    free = {"stage": "free", "method": "persam", "fold": 0, "segmenter_folder": str(run)}
    with pytest.raises(FcpError, match=r"segmenter_folder: .*classes of fold 0"):
        _measure(tmp_path, tmp_path, {**free, "encoders": encoders})


@pytest.mark.parametrize("with_data", [True, False])
@pytest.mark.parametrize("method", ["pfenet", "bam"])
def test_a_method_is_measured_with_and_without_data(
    method, with_data, small_backbone, mini_voc, tmp_path
):
    learner = {"stage": "base_learner", "image_size": 64, "backbone": small_backbone, "width": 4}
    (tmp_path / "learner.yaml").write_text(yaml.safe_dump({**learner, "optim": OPTIM}))
    values = {"stage": "method", "method": method, "image_size": 64, "fold": 0}
    values |= {"options": {"backbone": small_backbone, "width": 8}}
    values |= {"optim": {**OPTIM, "name": "sgd", "schedule": "poly"}}
    if method == "bam":
        values["base_learner_recipe"] = str(tmp_path / "learner.yaml")
    found = _measure(tmp_path, mini_voc if with_data else tmp_path / "none", values)
    assert ("random pictures" in found) is not with_data
    assert "40 steps" in found
    gradients, moments = re.search(r"gradients (\S+) MiB, optimizer (\S+) MiB", found).groups()
    assert gradients == moments  # SGD keeps one number a parameter


@pytest.mark.parametrize("with_data", [True, False])
def test_a_base_learner_is_measured(with_data, small_backbone, mini_voc, tmp_path):
    values = {"stage": "base_learner", "image_size": 64, "backbone": small_backbone, "width": 4}
    values |= {"fold": 0, "optim": OPTIM}
    found = _measure(tmp_path, mini_voc if with_data else tmp_path / "none", values)
    assert "40 steps" in found
    assert re.search(r"[1-9][\d,]* trainable and 0 frozen parameters", found)
