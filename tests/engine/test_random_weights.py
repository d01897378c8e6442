"""Recipes without the weights that are not on this machine: nothing of the architecture is lost."""

from pathlib import Path

import pytest
from transformers import Dinov2Config, Dinov2Model

from fcp.encoders import build_segmenter
from fcp.encoders.places import is_here
from fcp.engine.random_weights import ARCHITECTURES, large_parts, without_missing
from fcp.engine.recipe import HeadRecipe, load_recipe, shipped_recipes

TOY = {"vision_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}}
HEADS = {
    name: recipe
    for name, path in shipped_recipes().items()
    if isinstance(recipe := load_recipe(path), HeadRecipe)
}


@pytest.mark.parametrize("name", HEADS)
def test_every_shipped_head_can_be_built_without_weights(name):
    recipe, stand = HEADS[name], without_missing(HEADS[name])
    for before, after in (
        (recipe.model.backbone, stand.recipe.model.backbone),
        (recipe.model.segmenter, stand.recipe.model.segmenter),
    ):
        assert after.weights is None
        assert after.name == before.name
        assert before.options.items() <= after.options.items()
        if ARCHITECTURES.get(before.weights) is not None:
            assert after.options["config"] == ARCHITECTURES[before.weights]
    places = (recipe.start, recipe.backbone_weights, recipe.segmenter_folder)
    named = [recipe.model.backbone.weights, recipe.model.segmenter.weights, *places]
    assert list(stand.missing) == [name for name in named if name is not None]
    assert stand.recipe.optim == recipe.optim


def test_weights_that_are_here_stay(tmp_path):
    Dinov2Model(Dinov2Config(hidden_size=8, num_attention_heads=2)).save_pretrained(tmp_path)
    folder = str(tmp_path)
    assert is_here(folder)
    assert not is_here("me/none")
    assert not is_here("weights/none.pth")
    settings = (f"model.backbone.weights={folder}", "model.segmenter.weights=null")
    recipe = load_recipe(shipped_recipes()["pascal5i-dinov2-sam-vit-h"], settings)
    assert without_missing(recipe).missing == ()
    assert without_missing(recipe).recipe == recipe


def test_weights_of_an_unknown_architecture_stay_named():
    setting = "model.segmenter.weights=someone/else"
    recipe = load_recipe(shipped_recipes()["pascal5i-resnet50-sam-vit-h"], (setting,))
    stand = without_missing(recipe)
    assert stand.recipe.model.segmenter.weights == "someone/else"
    assert "someone/else" not in stand.missing


def test_sizes_are_told_before_a_part_is_built(monkeypatch):
    recipe = HEADS["pascal5i-resnet50-sam-vit-b"]
    assert large_parts(recipe) == ["sam with the weights facebook/sam-vit-base"]
    monkeypatch.setitem(ARCHITECTURES, "facebook/sam-vit-base", TOY)
    random = without_missing(recipe).recipe
    count = sum(p.numel() for p in build_segmenter(random.model.segmenter).parameters())
    assert large_parts(random) == [f"sam of {count / 1e6:,.0f} M parameters with random weights"]


def test_places_are_kept_as_written():
    assert Path(HEADS["tiny"].segmenter_folder) == Path("runs/tiny-segmenter")
