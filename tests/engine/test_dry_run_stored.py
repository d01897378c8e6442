"""Steps with and without stored features: sizes are those of a plain dry run, nothing is kept."""

import tempfile
from dataclasses import replace

import pytest

from fcp.engine.dry_run import cost_of
from fcp.engine.dry_run_stored import stored_cost
from fcp.engine.recipe import load_recipe
from fcp.errors import FcpError


def quiet(_):
    """Take the place of a report."""


@pytest.mark.parametrize("name", ["tiny-frozen", "tiny-pfenet", "tiny-base-learner"])
def test_sizes_are_those_of_a_plain_dry_run(name, mini_voc, toy_recipes, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = ("fold=1", "optim.iterations=null", "optim.epochs=3")
    recipe = load_recipe(toy_recipes / f"{name}.yaml", settings)
    found, plain = stored_cost(recipe, mini_voc, quiet), cost_of(recipe, mini_voc, quiet)
    same = ("trainable", "frozen", "parameter_bytes", "optimizer_bytes", "steps")
    assert all(getattr(found.cost, field) == getattr(plain, field) for field in same)
    assert found.cost.activation_bytes <= plain.activation_bytes
    assert found.encoding >= 0
    assert found.cost.share is None
    assert not list(tmp_path.iterdir())


def test_a_large_model_is_measured_with_one_sample(mini_voc, toy_recipes, monkeypatch):
    recipe = load_recipe(toy_recipes / "tiny-frozen.yaml", ("fold=1",))
    whole = stored_cost(recipe, mini_voc, quiet).cost
    monkeypatch.setattr("fcp.engine.dry_run_stored.LARGE", 1000)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    one = stored_cost(recipe, mini_voc, quiet).cost
    assert (one.share, one.steps) == (1, whole.steps)
    assert one.activation_bytes == pytest.approx(whole.activation_bytes, rel=0.1)


def test_features_that_change_are_refused(mini_voc, toy_recipes):
    recipe = load_recipe(toy_recipes / "tiny-frozen.yaml", ("fold=1",))
    with pytest.raises(FcpError, match="feature cache: of no use with views=augmented"):
        stored_cost(replace(recipe, views="augmented"), mini_voc, quiet)
