"""`fcp train` hands over what was typed, and finds recipes by path and by name."""

import sys
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.engine.recipe import find_recipe, recipe_title
from fcp.errors import FcpError

RECIPES = sorted(Path(str(files("fcp") / "recipes")).glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_go_by_name(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe(recipe.stem).samefile(recipe)
    assert find_recipe(recipe.name).samefile(recipe)


def test_a_file_is_itself(tmp_path):
    (tmp_path / "mine.yaml").write_text(find_recipe("tiny").read_text())
    assert find_recipe(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"


def test_unknown_recipe_names_the_known():
    with pytest.raises(
        FcpError, match="nothing: no such recipe file; shipped recipes: "
    ) as refused:
        find_recipe("nothing")
    assert all(recipe.stem in str(refused.value) for recipe in RECIPES)


def test_a_typing_error_is_told_before_torch_is_loaded(command, tmp_path):
    status, errors, imported = command(
        "train", "tiny", "optim.iteration=3", "--data-root", tmp_path, "--out", tmp_path / "out"
    )
    assert status == 1
    assert "unknown setting 'iteration'; known: " in errors[-1]
    assert not imported & {"torch", "transformers"}


def test_arguments_reach_the_training(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(find_recipe("tiny").read_text())
    received = {}
    monkeypatch.setattr(
        "fcp.engine.train.train", lambda recipe, **rest: received.update(rest, recipe=recipe)
    )
    arguments = ["train", str(tmp_path / "mine.yaml"), "seed=2", "model.head.tokens=10", "--resume"]
    arguments += ["--data-root", str(tmp_path), "--out", str(tmp_path / "run")]
    arguments += ["--feature-cache", str(tmp_path / "features"), "--feature-cache-gib", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert received.pop("report") is not None
    store = received.pop("store")
    assert (store.folder, store.capacity) == (tmp_path / "features", 2 << 30)
    assert received == {
        "recipe": tmp_path / "mine.yaml",
        "overrides": ("seed=2", "model.head.tokens=10"),
        "data_root": tmp_path,
        "out": tmp_path / "run",
        "resume": True,
    }


def test_a_dry_run_needs_no_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(find_recipe("tiny").read_text())
    received = {}
    monkeypatch.setattr(
        "fcp.engine.dry_run.dry_run", lambda recipe, **rest: received.update(rest, recipe=recipe)
    )
    arguments = ["train", str(tmp_path / "mine.yaml"), "seed=2", "--data-root", str(tmp_path)]
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert received["overrides"] == ("seed=2",)
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1
    assert "--out" in refused.output


@pytest.mark.parametrize(
    "command", ["train tiny --dry-run", "train tiny --out run", "evaluate --out report.json"]
)
def test_a_size_without_a_cache_is_refused(tmp_path, command):
    arguments = [*command.split(), "--data-root", str(tmp_path), "--feature-cache-gib", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    said = "error: --feature-cache-gib: without effect without --feature-cache; leave it out\n"
    assert done.stderr == said


@pytest.mark.parametrize(("classes", "is_told"), [(4, True), (5, False)])
def test_few_classes_are_told_before_the_training(tmp_path, monkeypatch, classes, is_told):
    for number in range(classes):
        for kind in ("images", "masks"):
            (tmp_path / f"mine/c{number}" / kind).mkdir(parents=True)
            (tmp_path / f"mine/c{number}" / kind / "a.png").touch()
    monkeypatch.setattr("fcp.engine.dry_run.dry_run", lambda *_, **__: None)
    arguments = ["train", "tiny", "benchmark=folder", "fold=null", "--dry-run"]
    done = CliRunner().invoke(app, [*arguments, "--data-root", str(tmp_path / "mine")])
    assert done.exit_code == 0, done.output
    assert ("4 classes; fcp calibrate --benchmark folder needs 5" in done.stderr) is is_told
    assert ("calibrate --model RUN --examples labelled" in done.stderr) is is_told


@pytest.mark.parametrize(
    ("options", "module"),
    [(("--out", "run"), "fcp.engine.train"), (("--dry-run",), "fcp.engine.dry_run")],
)
def test_without_its_extra_it_says_what_to_install(tmp_path, monkeypatch, options, module):
    (tmp_path / "mine.yaml").write_text(find_recipe("tiny").read_text())
    monkeypatch.setitem(sys.modules, module, None)  # as if it could not be imported
    arguments = ["train", str(tmp_path / "mine.yaml"), "--data-root", str(tmp_path), *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stderr == f"error: train: needs {module}; pip install '.[train]' in the checkout\n"


def test_the_help_lists_each_recipe_with_one_line():
    shown = CliRunner().invoke(app, ["train", "--help"]).output.splitlines()
    for recipe in RECIPES:
        assert f"  {recipe.stem} " in "\n".join(shown)
        (line,) = [line for line in shown if line.split()[:1] == [recipe.stem]]
        assert line.endswith(recipe_title(recipe))


def test_the_first_example_runs_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fcp.engine.dry_run.PATIENCE", 0)  # one step
    shown = CliRunner().invoke(app, ["train", "--help"]).output
    example = shown.partition("Examples:")[2].split("\n")[1].split()
    small = ["optim.batch=1", "model.image_size=64", "optim.accumulate=1"]
    done = CliRunner().invoke(app, [*example[1:], *small])
    assert done.exit_code == 0, done.output
    assert "random weights of the same sizes" in done.output
    assert "600 steps" in done.output
    assert not list(tmp_path.iterdir())
