"""Several processes, and processes that are killed, train what one undisturbed process does.

Run as a script, this file is such a run: a toy stage with a recipe as JSON.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from fcp.engine.loop import fit
from fcp.engine.optim import OptimConfig
from fcp.engine.processes import is_main, processes
from fcp.engine.tracking import LOG_FILE, read_log
from fcp.models.files import WEIGHTS_FILE

WEIGHTS = "toy.safetensors"
PID = "pid"
OPTIM = {
    "iterations": 24,
    "batch": 4,
    "learning_rate": 0.05,
    "warmup": 2,
    "checkpoint_every": 4,
    "log_every": 3,
}
# Each process imports torch first, which takes a while where all cores are busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


class Lines:
    samples_per_epoch = 10

    def __getitem__(self, share):
        seeds = [100 * share.step + at for at in share.positions(4)]
        x = torch.stack([torch.randn(1, generator=torch.Generator().manual_seed(s)) for s in seeds])
        return {"x": x, "y": 3 * x, "step": share.step}


class Toy:
    """Its second layer has a gradient only every other step; a frozen one never."""

    skips_parameters = True

    def __init__(self, *, dropout=0.0, hold=None, spoil=None):
        torch.manual_seed(0)
        self.model = nn.ModuleDict(
            {
                "frozen": nn.Linear(1, 1).requires_grad_(False),
                "first": nn.Sequential(nn.Linear(1, 8), nn.Dropout(dropout), nn.Linear(8, 1)),
                "second": nn.Linear(1, 1),
            }
        )
        self.batches = Lines()
        self._hold, self._spoil = hold, spoil

    def fresh_and_pretrained(self):
        return list(self.model["first"].parameters()), list(self.model["second"].parameters())

    def losses(self, batch):
        if batch["step"] == self._hold:
            time.sleep(600)
        found = self.model["first"](self.model["frozen"](batch["x"]))
        if batch["step"] % 2:
            found = found + self.model["second"](batch["x"])
        error = (found - batch["y"]).square().mean()
        if [batch["step"], processes().process_index] == self._spoil:
            error = error * float("nan")
        return {"error": error, "total": error}


def run_toy(out, optim, *, resume=False, **stage):
    toy = Toy(**stage)
    out.mkdir(exist_ok=True)
    if is_main():
        (out / PID).write_text(str(os.getpid()))
    fit(toy, OptimConfig(**optim), seed=0, out=out, resume=resume, report=lambda _: None)
    if is_main():
        save_file(toy.model.state_dict(), out / WEIGHTS)


def fork(count):
    """Go on in so many processes, as torchrun's, of which each would import torch anew.

    This process ends with them: with 1 as soon as one of them fails, which ends the others too.
    """
    import torch._dynamo
    import torch.distributed.tensor  # noqa: F401  (else each imports both at its first step)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            os.environ.update(there, RANK=str(rank), LOCAL_RANK=str(rank))
            return
        children.append(child)
    while children:
        child, status = os.wait()
        children.remove(child)
        if status != 0:
            time.sleep(1)  # for what the others have to say
            for other in children:
                os.kill(other, signal.SIGKILL)
            sys.exit(1)
    sys.exit(0)


def _start(out, optim, *, processes=1, **rest):
    settings = json.dumps({"optim": optim, **rest})
    return subprocess.Popen(
        [sys.executable, str(Path(__file__)), str(processes), str(out), settings],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _finish(process):
    _, errors = process.communicate(timeout=280)
    return process.returncode, errors


def _run(out, optim, *, processes, **rest):
    """Run to the end; one process alone is this one, which saves its start."""
    if processes == 1:
        run_toy(out, optim, **rest)
    else:
        status, errors = _finish(_start(out, optim, processes=processes, **rest))
        assert status == 0, errors


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
    cut = _start(tmp_path / "cut", OPTIM, hold=15, **dropout)
    log = tmp_path / "cut" / LOG_FILE
    while cut.poll() is None and not (log.exists() and "\n15," in log.read_text()):
        time.sleep(0.05)
    os.kill(int((tmp_path / "cut" / PID).read_text()), signal.SIGKILL)
    cut.communicate()
    assert not (tmp_path / "cut" / WEIGHTS).exists()
    _run(tmp_path / "cut", OPTIM, resume=True, **dropout)
    one, two = load_file(tmp_path / "whole" / WEIGHTS), load_file(tmp_path / "cut" / WEIGHTS)
    assert all(torch.equal(two[name], tensor) for name, tensor in one.items())
    assert _timeless(log) == _timeless(tmp_path / "whole" / LOG_FILE)


def test_a_bad_loss_on_one_process_ends_all(tmp_path):
    status, errors = _finish(_start(tmp_path, OPTIM, processes=2, spoil=[5, 1]))
    assert status != 0
    assert errors.count("FcpError: step 5: loss term error, total is not finite") == 2


def _head_recipe(folder):
    """Write a recipe without dropout and its backbone's weights; return the file."""
    # Not at the top: each process of a toy run would import it too.
    from transformers import MobileNetV2Config, MobileNetV2Model

    torch.manual_seed(0)
    MobileNetV2Model(MobileNetV2Config()).save_pretrained(folder / "backbone")
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


if __name__ == "__main__":
    if int(sys.argv[1]) > 1:
        fork(int(sys.argv[1]))
    run_toy(Path(sys.argv[2]), **json.loads(sys.argv[3]))
