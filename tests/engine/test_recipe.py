"""Recipes: the packaged ones load, and a wrong one says what to change."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from fcp.config import HeadConfig
from fcp.data.benchmarks import BENCHMARKS
from fcp.engine.dry_run import dry_run
from fcp.engine.optim import OptimConfig
from fcp.engine.recipe import (
    HeadRecipe,
    Recipe,
    flatten_settings,
    load_recipe,
    refuse_idle_settings,
    refuse_other_recipe,
    shipped_recipes,
)
from fcp.engine.train import train
from fcp.errors import FcpError
from fcp.reproduce.plan import SCALES

RECIPES = Path(str(files("fcp") / "recipes"))


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("*.yaml")))
def test_every_packaged_recipe_loads(name):
    recipe = load_recipe(RECIPES / name)
    assert isinstance(recipe, Recipe)


BACKBONES = {"resnet50": "resnet50", "vgg16": "vgg16_bn", "dinov2": "auto"}
SEGMENTERS = {
    "sam-vit-h": ("sam", "facebook/sam-vit-huge"),
    "sam-vit-b": ("sam", "facebook/sam-vit-base"),
    "sam2": ("sam2", "facebook/sam2.1-hiera-large"),
}
PAPER = sorted(path.stem for path in RECIPES.glob("*i-*-sam*.yaml"))
METHODS = ("ssp", "pfenet", "bam", "hdmnet", "cyctr")


@pytest.mark.parametrize("name", PAPER)
def test_a_recipes_name_says_what_is_in_it(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    benchmark, backbone, segmenter = name.split("-", 2)
    assert recipe.benchmark == benchmark
    assert benchmark in BENCHMARKS
    assert recipe.model.backbone.name == BACKBONES[backbone]
    assert (recipe.model.segmenter.name, recipe.model.segmenter.weights) == SEGMENTERS[segmenter]
    assert recipe.fold == 0  # a number is of one fold: none sees all classes unasked


@pytest.mark.parametrize("name", PAPER)
def test_a_recipe_trains_as_the_paper_does(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    pascal = name.startswith("pascal5i")
    assert recipe.optim == OptimConfig(
        batch=8,
        epochs=100 if pascal else 50,
        learning_rate=2e-4 if pascal else 1e-4,
        weight_decay=1e-6,
        warmup=0,
        clip=None,
        checkpoint_every=500,
    )
    assert recipe.model.head == HeadConfig()
    assert (recipe.draw, recipe.views, recipe.unfiltered) == ("query", "whole", False)
    assert (recipe.train_backbone, recipe.model.image_size) == (False, 512)


@pytest.mark.parametrize("name", [name for name in PAPER if name.startswith("pascal5i")])
def test_both_benchmarks_train_the_same_model(name):
    coco = load_recipe(RECIPES / f"{name.replace('pascal5i', 'coco20i')}.yaml")
    assert coco.model == load_recipe(RECIPES / f"{name}.yaml").model


def test_the_recipes_that_the_papers_scale_asks_for_are_there():
    assert {setting.recipe for setting in SCALES["paper"].settings} <= set(PAPER)


@pytest.mark.parametrize("benchmark", ["pascal5i", "coco20i"])
@pytest.mark.parametrize("backbone", ["resnet50", "vgg16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_methods_recipe_is_named_by_what_is_in_it(benchmark, backbone, method):
    file = RECIPES / f"{benchmark}-{backbone}-{method}.yaml"
    assert file.exists() == (backbone == "resnet50" or method not in ("ssp", "cyctr"))
    if file.exists():
        recipe = load_recipe(file)
        assert (recipe.method, recipe.benchmark, recipe.fold) == (method, benchmark, 0)
        assert backbone in str(recipe.options["backbone"])
        learner = f"{benchmark}-{backbone}-base-learner" if method in ("bam", "hdmnet") else None
        assert recipe.base_learner_recipe == learner
        assert learner is None or load_recipe(RECIPES / f"{learner}.yaml").benchmark == benchmark


@pytest.mark.parametrize("method", METHODS)
def test_tiny_methods_share_encoder_and_budget(method):
    head, recipe = (load_recipe(RECIPES / f"{n}.yaml") for n in ("tiny-frozen", f"tiny-{method}"))
    assert recipe.options["backbone"] == {
        "name": head.model.backbone.name,
        "options": head.model.backbone.options,
    }
    assert recipe.backbone_weights == head.backbone_weights
    for name in ("iterations", "batch", "precision", "warmup"):
        assert getattr(recipe.optim, name) == getattr(head.optim, name)
    assert (recipe.draw, recipe.image_size) == (head.draw, head.model.image_size)


def test_overrides_win():
    overrides = ("fold=3", "model.head.tokens=7", "optim.precision=no")
    recipe = load_recipe(RECIPES / "tiny.yaml", overrides)
    assert isinstance(recipe, HeadRecipe)
    assert (recipe.fold, recipe.model.head.tokens, recipe.optim.precision) == (3, 7, "no")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage=nap", "expected one of segmenter, head, method, base_learner"),
        ("stage=[head]", "expected one of segmenter, head, method, base_learner"),
        ("holdout_every=-1", "holdout_every"),
        ("draw=lots", "one of query, class"),
        ("distractor_share=2", "a share 0 … 1"),
        ("optim.batch=0", "at least 1"),
        ("optim.accumulate=0", "accumulate: expected at least 1"),
        ("seed=5000000000", "seed: expected 0 … 2147483647, got 5000000000"),
        ("seed=-1", "seed: expected 0 … 2147483647"),
        ("optim.epochs=3", "exactly one of them"),
        ("optim.iterations=null optim.epochs=0", "epochs: expected more than 0 and at most"),
        ("optim.iterations=null optim.epochs=1.0e308", "at most 1000000, got 1e\\+308"),
        ("optim.iterations=null", "exactly one of them"),
        ("optim.precision=fp8", "precision"),
        ("optim.warmup=-1", "warmup: expected at least 0"),
        ("optim.clip=0", "clip: expected more than 0"),
        ("optim.warm=3", "unknown setting 'warm'"),
        ("model.head.tokens=many", "tokens"),
    ],
)
def test_wrong_settings_are_named(override, message):
    with pytest.raises(FcpError, match=message):
        load_recipe(RECIPES / "tiny.yaml", tuple(override.split()))


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("tiny", "shots=[5]", "shots: without effect without shares"),
        ("tiny", "absent_share=0.2", "absent_share: without effect without shares"),
        ("tiny", "hold_out_kinds=true", "hold_out_kinds: without effect without shares"),
        ("small", "benchmark=coco20i", "benchmark: without effect with shares"),
        ("small", "views=augmented", "views: without effect with shares"),
        ("small", "region_share=0.1", "region_share: without effect with shares"),
        ("small", "holdout_every=50", "holdout_every: .* set hold_out_kinds=true"),
        (
            "tiny-pfenet",
            "base_learner_recipe=tiny-base-learner",
            "base_learner_recipe: without effect with method=pfenet",
        ),
        ("tiny-ssp", "base_learner=DIR", "base_learner: without effect with method=ssp"),
        ("tiny", "holdout_episodes=9", "holdout_episodes: without effect with holdout_every=0"),
        (
            "tiny-ssp",
            "holdout_episodes=9 holdout_every=0",
            "holdout_episodes: without effect with holdout_every=0",
        ),
    ],
)
def test_settings_that_would_do_nothing_are_named(name, override, message, tmp_path):
    overrides = tuple(override.split())
    recipe = load_recipe(RECIPES / f"{name}.yaml", overrides)
    with pytest.raises(FcpError, match=message):
        refuse_idle_settings(recipe)
    rest = {"data_root": tmp_path, "report": lambda _: None}
    with pytest.raises(FcpError, match=message):
        dry_run(RECIPES / f"{name}.yaml", overrides=overrides, **rest)
    with pytest.raises(FcpError, match=message):
        train(
            RECIPES / f"{name}.yaml",
            overrides=overrides,
            out=tmp_path / "run",
            resume=False,
            **rest,
        )


@pytest.mark.parametrize("name", ["tiny-segmenter", "tiny-pfenet", "tiny-base-learner"])
def test_seeds_of_every_training_have_a_bound(name):
    with pytest.raises(FcpError, match="seed: expected 0 … 2147483647, got 2147483648"):
        load_recipe(RECIPES / f"{name}.yaml", ("seed=2147483648",))


@pytest.mark.parametrize("name", ["small", "small-tuned"])  # on stored views, and on pixels
def test_shares_need_a_head_that_reads_the_same_features_in_use(name):
    with pytest.raises(FcpError, match=r"small.*: shares: .*set model\.head\.correlation"):
        load_recipe(RECIPES / f"{name}.yaml", ("model.head.correlation=0",))


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_setting_of_a_shipped_recipe_acts(name):
    refuse_idle_settings(load_recipe(RECIPES / f"{name}.yaml"))


def test_a_file_without_stage_is_refused(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({"seed": 1}))
    with pytest.raises(FcpError, match=r"x\.yaml: stage"):
        load_recipe(file)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 13), (0.5, 7), (100, 1250)])
def test_epochs_round_up_to_whole_steps(epochs, steps):
    assert OptimConfig(epochs=epochs, batch=8, learning_rate=1e-3).steps(100) == steps


def test_only_length_and_pace_may_change_on_resuming(tmp_path):
    started = load_recipe(RECIPES / "tiny.yaml")
    (tmp_path / "recipe.json").write_text(json.dumps(asdict(started)))
    longer = ("optim.iterations=900", "optim.learning_rate=1e-4", "optim.log_every=1")
    refuse_other_recipe(tmp_path / "recipe.json", load_recipe(RECIPES / "tiny.yaml", longer))
    other = load_recipe(RECIPES / "tiny.yaml", ("model.head.tokens=7", "optim.batch=4"))
    with pytest.raises(FcpError, match="another folder") as caught:
        refuse_other_recipe(tmp_path / "recipe.json", other)
    assert "model.head.tokens (was 10, now 7), optim.batch (was 8, now 4);" in str(caught.value)


def test_settings_are_flattened_to_dotted_names():
    values = {"a": 1, "b": {"c": [2], "d": {"e": None}}}
    assert flatten_settings(values) == {"a": 1, "b.c": [2], "b.d.e": None}
    assert flatten_settings(values["b"], "recipe.") == {"recipe.c": [2], "recipe.d.e": None}


def test_defaults_hold_the_ranges():
    with pytest.raises(FcpError, match="iterations"):
        OptimConfig(iterations=0, batch=1, learning_rate=1e-3)
