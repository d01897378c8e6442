"""Recipes of rows and stages: settings that reach them, and what their trainings change."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import yaml

from fcp.models.trained import load_trained
from fcp.reproduce.plan import SCALES, Experiment
from fcp.reproduce.recipes import (
    Workplace,
    has_stored_features,
    learner_of,
    recipe_of,
    store_of,
    trains_backbone,
)
from fcp.reproduce.run import base_learner, model_of

BAM = Experiment(SCALES["tiny"].settings[0], "BAM", fold=1, seed=0, shots=(1,))


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("views", ["whole", "augmented"])
def test_a_backbone_that_changes_is_told_by_the_base_learners_recipe(
    mini_voc, toy_recipes, tmp_path, trained, views
):
    for name, more in {"tiny-bam": {"views": views}, "tiny-base-learner": {}}.items():
        values = yaml.safe_load((toy_recipes / f"{name}.yaml").read_text())
        own = {"train_backbone": trained} if name == "tiny-base-learner" else {}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**values, **own, **more}))
    place = Workplace(mini_voc, tmp_path / "out", tmp_path)
    recipe = recipe_of(BAM, place)
    assert trains_backbone(recipe, learner_of(BAM, recipe, place)) == trained
    stored = has_stored_features(recipe, learner_of(BAM, recipe, place))
    assert stored == (views == "whole" and not trained)
    for cell in ("", f"{BAM.cell}.", f"{BAM.setting.name}."):
        other = f"{cell}base_learner.train_backbone={str(not trained).lower()}"
        given = replace(place, settings=(other,))
        assert trains_backbone(recipe, learner_of(BAM, recipe, given)) != trained
    elsewhere = f"pascal5i-tiny/HDMNet.base_learner.train_backbone={str(not trained).lower()}"
    given = replace(place, settings=(elsewhere,))
    assert trains_backbone(recipe, learner_of(BAM, recipe, given)) == trained


def test_a_row_goes_on_from_a_base_learner_whose_first_weights_have_moved(
    mini_voc, toy_recipes, tmp_path
):
    place = Workplace(mini_voc, tmp_path / "out", toy_recipes, cache_bytes=1 << 26)
    base_learner(BAM, recipe_of(BAM, place), place, report=print)
    shutil.copytree(toy_recipes / "mobilenet", tmp_path / "moved")
    elsewhere = replace(place, settings=(f"backbone_weights={tmp_path / 'moved'}",))
    folder = model_of(BAM, elsewhere, report=print)
    assert load_trained(folder).method == "bam"


def test_rows_without_a_base_learner_have_none(mini_voc, toy_recipes, tmp_path):
    place = Workplace(mini_voc, tmp_path, toy_recipes)
    for row in ("FCP", "PFENet", "Contrast"):
        experiment = replace(BAM, row=row)
        recipe = recipe_of(experiment, place)
        assert learner_of(experiment, recipe, place) is None
        assert not trains_backbone(recipe)
        # What trains nothing stores nothing either.
        assert (store_of(recipe, place) is None) == (row == "Contrast")
