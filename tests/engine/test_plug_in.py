"""A stranger's backbone: registered by one entry, then trained, judged, saved and loaded."""

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from fcp.data.benchmarks import open_benchmark
from fcp.data.episodes import sample_episodes
from fcp.data.lists import val_lists
from fcp.encoders import BACKBONES
from fcp.encoders.base import Backbone
from fcp.engine.train import train
from fcp.errors import FcpError
from fcp.evaluation.evaluate import evaluate
from fcp.evaluation.predictor import FCPPredictor
from fcp.features.cache import FeatureCache
from fcp.inference.segmenter import FewShotSegmenter
from fcp.models.checkpoint import load_model
from fcp.structures import BackboneFeatures


class Stranger(Backbone):
    """Two convolutions: the first makes the mid-level map, the second the high-level map."""

    def __init__(self, *, width):
        super().__init__()
        self.mid_channels, self.high_channels = width, 2 * width
        self.level_channels = (width,)
        self.first = nn.Conv2d(3, width, 3, stride=8, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 2 * width, 1)
        self.keep_statistics()

    def forward(self, images, mask=None):
        mid = functional.relu(self.norm(self.first(images)))
        seen = mid if mask is None else mid * functional.interpolate(mask, mid.shape[-2:])
        mid = self.standardised(mid)
        return BackboneFeatures(mid=mid, high=self.last(seen), levels=(mid,))


def build_stranger(weights, *, width=8):
    backbone = Stranger(width=width)
    if weights is not None:
        backbone.load_state_dict(torch.load(weights, weights_only=True))
    return backbone


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(BACKBONES, "stranger", build_stranger)


@pytest.fixture
def recipe(tmp_path):
    torch.manual_seed(1)
    torch.save(Stranger(width=6).state_dict(), tmp_path / "start.pt")
    segmenter = {"width": 16, "image_size": 64, "decoder_width": 16}
    values = {
        "stage": "head",
        "fold": 0,
        "backbone_weights": str(tmp_path / "start.pt"),
        "model": {
            "image_size": 64,
            "head": {"width": 16, "tokens": 3},
            "backbone": {"name": "stranger", "options": {"width": 6}},
            "segmenter": {"name": "tiny", "options": segmenter},
        },
        "optim": {"iterations": 2, "batch": 2, "learning_rate": 1e-3, "warmup": 1},
    }

    def write(**more):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**values, **more}))
        return tmp_path / "recipe.yaml"

    return write


def fit(recipe, data_root, out, store=None, overrides=()):
    train(
        recipe,
        overrides=overrides,
        data_root=data_root,
        out=out,
        resume=False,
        report=lambda _: None,
        store=store,
    )


def test_it_trains_evaluates_saves_and_loads(registered, recipe, mini_voc, tmp_path):
    fit(recipe(), mini_voc, tmp_path / "run", FeatureCache(tmp_path / "features", 1 << 24))
    model = load_model(tmp_path / "run")
    start = torch.load(tmp_path / "start.pt", weights_only=True)
    assert torch.equal(model.backbone.first.weight, start["first.weight"])
    assert (model.backbone.mid_std != 1).all()  # measured, and saved with the model

    data = open_benchmark("pascal5i", mini_voc)
    episodes = sample_episodes(val_lists(data, 0), shots=1, episodes=3, seed=0)
    result = evaluate(FCPPredictor(model), data, episodes, image_size=64)
    assert result.episodes == 3
    assert 0 <= result.square.miou <= 1

    segmenter = FewShotSegmenter.from_pretrained(tmp_path / "run", device="cpu")
    example = (data.image("val_01_0"), data.class_mask("val_01_0", 1))
    photo = data.image("val_01_1")
    found = segmenter.fit([example]).predict(photo)
    segmenter.save_pretrained(tmp_path / "copy")
    copy = FewShotSegmenter.from_pretrained(tmp_path / "copy", device="cpu")
    again = copy.fit([example]).predict(photo)
    assert (found.labels == again.labels).all()
    assert found.labels.shape == photo.shape[:2]


def test_it_can_be_trained_with_the_head(registered, recipe, mini_voc, tmp_path):
    fit(recipe(train_backbone=True), mini_voc, tmp_path / "run")
    start = torch.load(tmp_path / "start.pt", weights_only=True)
    moved = load_model(tmp_path / "run").backbone.first.weight - start["first.weight"]
    assert moved.abs().max() > 0


def test_it_serves_a_head_that_compares_level_by_level(registered, recipe, mini_voc, tmp_path):
    settings = ("model.head.contrast_levels=[6]", "model.head.features=F")
    fit(recipe(), mini_voc, tmp_path / "run", overrides=settings)
    assert load_model(tmp_path / "run").config.head.contrast_levels == [6]


def test_a_folder_that_the_segmenter_cannot_use_is_refused(
    registered, recipe, mini_voc, tmp_path, monkeypatch
):
    from fcp.encoders import SEGMENTERS
    from fcp.encoders.base import PromptableSegmenter
    from fcp.encoders.tiny import TinySegmenter

    class Unstarted(TinySegmenter):
        load_start = PromptableSegmenter.load_start

    monkeypatch.setitem(SEGMENTERS, "unstarted", lambda _, **options: Unstarted(**options))
    settings = ("model.segmenter.name=unstarted", "segmenter_folder=runs/earlier")
    with pytest.raises(FcpError, match=r"segmenter 'unstarted': cannot start .*runs/earlier/"):
        fit(recipe(), mini_voc, tmp_path / "run", overrides=settings)
    assert not (tmp_path / "run/recipe.json").exists()
