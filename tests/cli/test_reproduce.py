"""`fcp reproduce` from the command line: files are named, every failure is one line."""

import pytest
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.engine import recipe


@pytest.fixture
def run(mini_voc, toy_recipes, tmp_path, monkeypatch):
    found = {"tiny": toy_recipes / "tiny-frozen.yaml"}
    shipped = recipe.find_recipe
    monkeypatch.setattr(recipe, "find_recipe", lambda name: found.get(name) or shipped(name))

    def run(*more, root=mini_voc):
        fixed = ["--data-root", root, "--out", tmp_path / "out", "--promptable", toy_recipes]
        arguments = ["reproduce", *more, *fixed, "--episodes", 5, "--device", "cpu"]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def test_a_table_is_made_and_its_files_are_named(run, tmp_path):
    done = run("table3", "optim.iterations=1", "--fold", "2")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[-3:] == [str(tmp_path / "out" / f"table3.{kind}") for kind in ("md", "csv", "npz")]
    assert "pascal5i-tiny-fcp-fold2-seed0: training" in lines
    again = run("table3", "optim.iterations=1", "--fold", "2", "--seeds", "1")
    assert again.stdout.splitlines() == lines[-3:]
    other = run("table3", "optim.iterations=2", "--fold", "2")
    assert other.exit_code == 1
    assert "was made with another recipe.optim.iterations; choose another --out" in other.stderr
    assert other.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "root", "message"),
    [
        (("table1", "--fold", "two"), None, "--fold: expected numbers such as 1,3, got 'two'"),
        (("table1", "--fold", "4"), None, "table1 is made of folds 0, 1, 2, 3, got 4"),
        (("table1", "--only", "pascal5i"), None, "pascal5i: no such cell; choose one of pascal5i-"),
        (("table1", "pascal5i-big.seed=1"), None, "pascal5i-big: no such cell; choose one of"),
        (("fig1", "--only", "pascal5i-tiny"), None, "--only: fig1 is drawn of all its rows"),
        (("fig2", "--seeds", "2"), None, "--seeds: fig2 shows one training a fold; leave it out"),
        (("fig5", "--fold", "0"), None, "fig5 is made of folds 1, 3, got 0"),
        (("table1",), "nowhere", "nowhere"),
        (("table1", "model.tokens=3"), None, "tokens"),
        (("table1", "--scale", "paper"), None, "pascal5i-resnet50-pfenet.yaml"),
    ],
)
def test_wrong_wishes_are_one_line(run, more, root, message):
    done = run(*more, **({} if root is None else {"root": root}))
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unknown_target_is_a_usage_error(run):
    assert run("table5").exit_code == 2
    assert run("table1", "--scale", "huge").exit_code == 2


def test_a_folder_of_promptable_stages_that_is_not_there_starts_no_training(mini_voc, tmp_path):
    asked = ["reproduce", "table3", "--data-root", mini_voc, "--out", tmp_path / "out"]
    asked += ["--promptable", tmp_path / "modles"]
    done = CliRunner().invoke(app, [str(argument) for argument in asked])
    assert done.exit_code == 2
    assert "--promptable" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_measures_and_writes_nothing(run, tmp_path):
    done = run("table3", "--fold", "2", "--dry-run")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "tiny-promptable-02: 0 trainings to do, 1 done or not needed",
        "pascal5i-tiny/FCP: 1 training to do, 0 done or not needed; 1 evaluation to do, 0 done",
    ]
    assert lines[2] == "1 training and 1 evaluation of 5 episodes to do"
    assert any(line.startswith("pascal5i-tiny/FCP: 0.0 h for 1 training, ") for line in lines)
    assert not (tmp_path / "out").exists()
