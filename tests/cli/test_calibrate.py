"""`fcp calibrate`: options that do not fit together; tests/cli/test_segment_free.py calibrates."""

import shutil

import pytest
from typer.testing import CliRunner

from fcp.cli.main import app


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
