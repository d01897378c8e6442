"""`fcp evaluate` on a data set made for the test: the report's keys, and its reproducibility."""

import json

import pytest
from typer.testing import CliRunner

from fcp.cli.main import app


@pytest.fixture
def run(mini_voc, model_folder, tmp_path):
    def run(*more, name="report.json", root=mini_voc):
        fixed = ["--data-root", root, "--model", model_folder, "--device", "cpu", "--fold", 0]
        arguments = ["evaluate", *fixed, "--out", tmp_path / name, *more]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def test_report_has_the_keys_and_is_reproducible(run, tmp_path):
    for name in ("first.json", "second.json"):
        done = run("--shots", 2, "--episodes", 6, "--seed", 3, name=name)
        assert done.exit_code == 0, done.output
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("first", "second"))
    assert {"miou", "fb_iou", "class_iou", "episodes", "protocol"} <= set(first)
    assert first["episodes"] == 6
    assert (first["protocol"]["fold"], first["protocol"]["shots"]) == (0, 2)
    assert first["protocol"]["seed"] == 3
    first.pop("seconds")
    second.pop("seconds")
    assert first == second
    assert f"mIoU {100 * first['miou']:.1f}" in done.stdout


def test_fusion_is_the_papers_unless_another_is_asked(run, tmp_path):
    for name, more in {"mean": (), "pooled": ("--fusion", "pooled")}.items():
        assert run("--shots", 3, "--episodes", 4, *more, name=f"{name}.json").exit_code == 0
    mean, pooled = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("mean", "pooled"))
    assert mean["protocol"]["fusion_rule"].startswith("mean of the K mask logits, foreground")
    assert pooled["protocol"]["fusion_rule"].startswith("the K supports as one")
    assert mean["pseudo_masks"] != pooled["pseudo_masks"]
    assert run("--fusion", "median").exit_code == 2


def test_data_root_comes_from_the_environment(run, mini_voc, model_folder, tmp_path):
    arguments = ["evaluate", "--fold", "0", "--model", str(model_folder), "--device", "cpu"]
    arguments += ["--episodes", "1", "--out", str(tmp_path / "r.json")]
    done = CliRunner().invoke(app, arguments, env={"FCP_DATA_ROOT": str(mini_voc)})
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"root": "nowhere"}, "nowhere"),
        ({"name": "no/folder/r.json"}, "make it first"),
    ],
)
def test_bad_places_are_refused(run, more, message):
    done = run("--episodes", 1, **more)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_impossible_numbers_are_usage_errors(run):
    assert run("--fold", 4).exit_code == 2
    assert run("--shots", 0).exit_code == 2
