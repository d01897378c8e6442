"""The dry run of recipes with shares: their own stage, with or without the data."""

import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from engine.test_train_stored import RECIPE

from fcp.checks import from_dict
from fcp.data.mixed import Mixture
from fcp.engine.dry_run import dry_run
from fcp.engine.dry_run_mixed import mixed_stage, random_source
from fcp.engine.pixel_batches import PixelBatches
from fcp.engine.recipe import HeadRecipe
from fcp.engine.stored_batches import StoredBatches
from fcp.engine.train_head import starting_model
from fcp.errors import FcpError


def lines_of(tmp_path, data_root, **more):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**RECIPE, **more}))
    lines = []
    dry_run(file, overrides=(), data_root=data_root, report=lines.append)
    return "\n".join(lines)


def test_views_are_counted_with_the_data_and_told_without(tmp_path, mini_root):
    told = lines_of(tmp_path, mini_root)
    views, each, photos = re.search(
        r"(\d) views of each photo are encoded first, ([\d.]+) s each: ([\d,]+) photos, ", told
    ).groups()
    assert (views, int(photos) > 10, float(each) > 0) == ("2", True, True)
    assert re.search(r"\d+ steps, [\d.]+ s each", told)
    without = lines_of(tmp_path, tmp_path / "nothing")
    assert re.search(r"encoded first, [\d.]+ s each$", without, re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"]


@pytest.mark.parametrize(("together", "kind"), [(False, StoredBatches), (True, PixelBatches)])
def test_the_stage_is_that_of_the_training(tmp_path, together, kind):
    recipe = replace(from_dict(HeadRecipe, RECIPE), train_backbone=together)
    with mixed_stage(recipe, starting_model(recipe), tmp_path, lambda _: None) as stage:
        assert isinstance(stage.batches, kind)
        assert stage.skips_parameters == together


def test_epochs_need_the_data(tmp_path):
    recipe = from_dict(HeadRecipe, RECIPE)
    recipe = replace(recipe, optim=replace(recipe.optim, iterations=None, epochs=2))
    model = starting_model(recipe)
    with (
        pytest.raises(FcpError, match=r"give optim.iterations for --dry-run"),
        mixed_stage(recipe, model, tmp_path, lambda _: None),
    ):
        pass


def test_random_photos_show_one_of_two_classes():
    source = random_source(3)
    mixture = Mixture([source], {"voc": 1.0}, shots=2, absent_share=0.5)
    drawn = [mixture(np.random.default_rng(seed)) for seed in range(40)]
    assert {task.present for task in drawn} == {True, False}
    for task in drawn:
        shown = [source.data.class_mask(photo, task.class_id).any() for photo in task.supports]
        assert shown == [True, True]
        assert source.data.class_mask(task.query, task.class_id).any() == task.present
        assert source.data.image(task.query).dtype == np.uint8
