"""Several processes, and processes that are killed, train what one undisturbed process does."""

import os
import subprocess
import sys
import time

import pytest
import torch
import yaml
from engine.toy_runs import WEIGHTS, end_toys, errors_of, run_toy, start_toys
from safetensors.torch import load_file

from fcp.engine.tracking import LOG_FILE, read_log
from fcp.models.files import WEIGHTS_FILE

OPTIM = {
    "iterations": 24,
    "batch": 4,
    "learning_rate": 0.05,
    "warmup": 2,
    "checkpoint_every": 4,
    "log_every": 3,
}
# A process imports torch first, which takes a while where all cores are busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def _run(out, optim, *, processes, **rest):
    """Run to the end; one process alone is this one, which saves its start."""
    if processes == 1:
        run_toy(out, optim, **rest)
    else:
        status = end_toys(start_toys(out, processes, optim, **rest))
        assert status == 0, errors_of(out)


def _timeless(file):
    return [
        {name: value for name, value in row.items() if name != "seconds_per_step"}
        for row in read_log(file)
    ]


def test_two_processes_that_accumulate_train_what_one_does(tmp_path):
    run_toy(tmp_path / "one", OPTIM)
    _run(tmp_path / "two", {**OPTIM, "accumulate": 2}, processes=2)
    one, two = load_file(tmp_path / "one" / WEIGHTS), load_file(tmp_path / "two" / WEIGHTS)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)
    for row, other in zip(
        read_log(tmp_path / "one" / LOG_FILE), read_log(tmp_path / "two" / LOG_FILE), strict=True
    ):
        assert row["step"] == other["step"]
        assert float(row["error"]) == pytest.approx(float(other["error"]), rel=1e-3)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, processes):
    dropout = {"dropout": 0.3, "processes": processes}
    _run(tmp_path / "whole", OPTIM, **dropout)
    # It waits in its 16th step: after the checkpoint of step 12, and a row of the log later.
    cut = start_toys(tmp_path / "cut", processes, OPTIM, hold=15, dropout=0.3)
    log = tmp_path / "cut" / LOG_FILE
    while cut[0].exitcode is None and not (log.exists() and "\n15," in log.read_text()):
        time.sleep(0.05)
    cut[0].kill()
    end_toys(cut)
    assert not (tmp_path / "cut" / WEIGHTS).exists()
    _run(tmp_path / "cut", OPTIM, resume=True, **dropout)
    one, two = load_file(tmp_path / "whole" / WEIGHTS), load_file(tmp_path / "cut" / WEIGHTS)
    assert all(torch.equal(two[name], tensor) for name, tensor in one.items())
    assert _timeless(log) == _timeless(tmp_path / "whole" / LOG_FILE)


def test_a_bad_loss_on_one_process_ends_all(tmp_path):
    assert end_toys(start_toys(tmp_path, 2, OPTIM, spoil=[5, 1])) != 0
    assert errors_of(tmp_path).count("FcpError: step 5: loss term error, total is not finite") == 2


def _head_recipe(folder):
    """Write a recipe without dropout and its backbone's weights; return the file."""
    # Not at the top: each process of a toy run would import it too.
    from transformers import MobileNetV2Config, MobileNetV2Model

    torch.manual_seed(0)
    narrow = MobileNetV2Config(depth_multiplier=0.35, finegrained_output=False)
    MobileNetV2Model(narrow).save_pretrained(folder / "backbone")
    quiet = {"attention_dropout": 0.0, "matching_dropout": 0.0, "feature_dropout": 0.0}
    options = {"width": 16, "image_size": 64, "decoder_width": 16}
    values = {
        "stage": "head",
        "fold": 0,
        "backbone_weights": str(folder / "backbone"),
        "model": {
            "image_size": 64,
            "head": {"width": 16, "tokens": 3, **quiet},
            "backbone": {"name": "mobilenet_v2", "options": {"standardise": False}},
            "segmenter": {"name": "tiny", "options": options},
        },
        "optim": {"iterations": 3, "batch": 4, "learning_rate": 1e-3, "warmup": 1},
    }
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    return recipe


def test_the_command_trains_the_same_head_on_two_processes(mini_voc, tmp_path):
    from fcp.engine.train import train  # not at the top, like transformers

    recipe, rest = _head_recipe(tmp_path), {"data_root": mini_voc, "resume": False}
    train(recipe, overrides=(), out=tmp_path / "one", report=lambda _: None, **rest)
    arguments = ("train", str(recipe), "--data-root", str(mini_voc), "--out", str(tmp_path / "two"))
    done = subprocess.run(
        [*LAUNCH, "-m", "fcp", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=140,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model written") == 1
    one, two = (
        load_file(tmp_path / "one" / WEIGHTS_FILE),
        load_file(tmp_path / "two" / WEIGHTS_FILE),
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
