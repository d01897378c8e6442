"""`fcp calibrate`: options that do not fit together; tests/cli/test_segment_free.py calibrates."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.data.benchmarks import name_of
from fcp.errors import FcpError


def ask(*words):
    done = CliRunner().invoke(app, ["calibrate", *map(str, words)])
    assert done.exit_code == 1, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize("name", ["tiny", "small", "free"])
def test_a_folder_with_the_name_of_a_model_is_not_that_model(
    name, model_folder, mini_voc, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_folder, tmp_path / name)
    before = sorted(path.name for path in (tmp_path / name).iterdir())
    said = ask("--model", name, "--data-root", mini_voc, "--all-classes")
    assert f"--out: {name} is no folder of yours" in said
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == before


@pytest.fixture
def own_model(model_folder, tmp_path):
    return Path(shutil.copytree(model_folder, tmp_path / "m"))


@pytest.mark.parametrize(
    ("recipe", "words", "message"),
    [
        ({"fold": 1}, (), "pascal5i, fold 1"),
        ({"fold": 1}, ("--fold", 1, "--benchmark", "pascal5i"), "pascal5i, fold 1"),
        ({"fold": None}, (), "pascal5i, fold None"),
        (None, ("--fold", 2), "pascal5i, fold 2"),
        (None, ("--all-classes",), "pascal5i, fold None"),
        (None, (), "has folds; choose one of: 0, 1, 2, 3"),
        ({"fold": 1}, ("--fold", 0), "--fold: {} was trained with benchmark=pascal5i and fold=1"),
        ({"fold": None}, ("--fold", 0), "--fold: {} was trained with benchmark=pascal5i and fold="),
        ({"fold": 1}, ("--all-classes",), "--all-classes: {} was trained with"),
        (
            {"fold": 1, "benchmark": "coco20i"},
            ("--benchmark", "pascal5i"),
            "--benchmark: {} was trained with benchmark=coco20i and fold=1; leave the option out",
        ),
    ],
)
def test_the_classes_are_those_of_the_models_training(
    recipe, words, message, own_model, mini_voc, monkeypatch
):
    def tell(network, data, fold, **_):
        raise FcpError(f"{name_of(data)}, fold {fold}")

    monkeypatch.setattr("fcp.engine.calibrate.calibrate", tell)
    if recipe is not None:
        (own_model / "recipe.json").write_text(json.dumps(recipe))
    said = ask("--model", own_model, "--data-root", mini_voc, "--device", "cpu", *words)
    assert message.format(own_model) in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--without", "w"), "--without: is for --examples"),
        (("--examples", "e", "--fold", "1"), "--fold: is for a data set"),
        (("--examples", "e", "--all-classes"), "--all-classes: is for a data set"),
    ],
)
def test_options_that_would_do_nothing_are_refused(words, message, model_folder):
    assert message in ask("--model", model_folder, *words)
