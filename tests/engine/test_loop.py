"""The loop: it learns, resumes as if never stopped, decays what it should, halts on nonsense."""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from fcp.engine.loop import fit
from fcp.engine.recipe import OptimConfig
from fcp.errors import FcpError

OPTIM = OptimConfig(
    iterations=12, batch=4, learning_rate=0.05, warmup=2, checkpoint_every=4, log_every=3
)


class Lines(Dataset):
    """Points of y = 3x, drawn from step and position."""

    def __getitem__(self, share):
        seeds = [100 * share.step + at for at in share.positions(4)]
        x = torch.stack([torch.randn(1, generator=torch.Generator().manual_seed(s)) for s in seeds])
        return {"x": x, "y": 3 * x}


class Toy:
    """A stage with dropout, so that a resumed run must restore the random state too."""

    def __init__(self, spoil_at=None):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.batches = Lines()
        self.seen = 0
        self.spoil_at = spoil_at

    def fresh_and_pretrained(self):
        return list(self.model[2].parameters()), list(self.model[0].parameters())

    def losses(self, batch):
        self.seen += 1
        error = (self.model(batch["x"]) - batch["y"]).square().mean()
        if self.seen == self.spoil_at:
            error = error * float("nan")
        return {"error": error, "total": error}


def _run(stage, out, *, optim=OPTIM, resume=False):
    lines = []
    fit(stage, optim, seed=0, out=out, resume=resume, report=lines.append)
    return lines


def _weights(stage):
    return torch.cat([p.detach().flatten() for p in stage.model.parameters()])


def test_loss_falls_and_every_term_is_logged(tmp_path):
    lines = _run(Toy(), tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [3, 6, 9, 12]
    assert len(lines) == 4
    assert set(log[0]) == {"step", "error", "total", "learning_rate", "seconds_per_step"}
    assert log[-1]["error"] < log[0]["error"]
    assert log[-1]["learning_rate"] < log[0]["learning_rate"]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = Toy()
    _run(whole, tmp_path / "whole")
    broken = Toy(spoil_at=7)
    with pytest.raises(FcpError, match="not finite"):
        _run(broken, tmp_path / "cut")
    resumed = Toy()
    _run(resumed, tmp_path / "cut", resume=True)
    assert resumed.seen == 8  # steps 5 … 12
    torch.testing.assert_close(_weights(resumed), _weights(whole), rtol=0, atol=0)
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "cut/log.jsonl").read_text().splitlines()
    ]
    assert steps == sorted(set(steps))


def test_a_kill_between_renames_leaves_a_checkpoint(tmp_path):
    _run(Toy(), tmp_path, optim=OPTIM)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    resumed = Toy()
    _run(resumed, tmp_path, resume=True)
    assert resumed.seen == 0  # all twelve steps were done


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(FcpError, match="without --resume"):
        _run(Toy(), tmp_path, resume=True)


def test_the_message_names_term_and_remedy(tmp_path):
    with pytest.raises(FcpError, match="step 0: loss term error, total") as caught:
        _run(Toy(spoil_at=1), tmp_path)
    assert "learning_rate" in str(caught.value)
