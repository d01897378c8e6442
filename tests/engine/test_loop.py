"""The loop: it learns, resumes as if never stopped, freezes what is frozen, halts on nonsense."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fcp.engine.checkpoints import CHECKPOINT_FILE
from fcp.engine.holdout import Holdout
from fcp.engine.loop import Trainer, fit
from fcp.engine.optim import OptimConfig
from fcp.engine.share import Share
from fcp.engine.tracking import LOG_FILE, read_log
from fcp.errors import FcpError

OPTIM = OptimConfig(
    iterations=12, batch=4, learning_rate=0.05, warmup=2, checkpoint_every=4, log_every=3
)


class Lines:
    """Points of y = 3x, drawn from step and position."""

    samples_per_epoch = 10

    def __getitem__(self, share):
        seeds = [100 * share.step + at for at in share.positions(4)]
        x = torch.stack([torch.randn(1, generator=torch.Generator().manual_seed(s)) for s in seeds])
        return {"x": x, "y": 3 * x}


class Toy:
    """A stage with dropout, so that a resumed run must restore the random state too."""

    skips_parameters = False

    def __init__(self, spoil_at=None, dropout=0.3):
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(1, 1), nn.Linear(1, 8), nn.Dropout(dropout), nn.Linear(8, 1)
        )
        self.model[0].requires_grad_(False)
        self.batches = Lines()
        self.seen = 0
        self.spoil_at = spoil_at

    def fresh_and_pretrained(self):
        return list(self.model[3].parameters()), list(self.model[1].parameters())

    def losses(self, batch):
        self.seen += 1
        error = (self.model(batch["x"]) - batch["y"]).square().mean()
        if self.seen == self.spoil_at:
            error = error * float("nan")
        return {"error": error, "total": error}


def _run(stage, out, *, optim=OPTIM, resume=False, holdout=None):
    lines = []
    fit(stage, optim, seed=0, out=out, resume=resume, report=lines.append, holdout=holdout)
    return lines


def _weights(stage):
    return torch.cat([p.detach().flatten() for p in stage.model.parameters()])


def _timeless(file):
    """Rows of a log without what the clock says."""
    return [
        {name: value for name, value in row.items() if name != "seconds_per_step"}
        for row in read_log(file)
    ]


class Damaged(Lines):
    """A picture of the third step cannot be read."""

    def __getitem__(self, share):
        if share.step == 2:
            raise FcpError("/data/a.jpg: damaged; copy it again")
        return super().__getitem__(share)


def test_what_a_loader_cannot_read_is_told_as_it_is(tmp_path):
    stage = Toy()
    stage.batches = Damaged()
    with pytest.raises(FcpError) as told:
        _run(stage, tmp_path)
    assert str(told.value) == "/data/a.jpg: damaged; copy it again"


def test_loss_falls_and_every_term_is_logged(tmp_path):
    lines = _run(Toy(), tmp_path)
    rows = read_log(tmp_path / LOG_FILE)
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
    assert len(lines) == 4
    assert list(rows[0]) == [
        "step",
        "error",
        "total",
        "learning_rate",
        "seconds_per_step",
        "holdout",
    ]
    assert float(rows[-1]["error"]) < float(rows[0]["error"])
    assert float(rows[-1]["learning_rate"]) < float(rows[0]["learning_rate"])
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_row_is_the_mean_since_the_row_before(tmp_path):
    stage, seen = Toy(), []
    original = stage.losses
    stage.losses = lambda batch: seen.append(original(batch)) or seen[-1]
    _run(stage, tmp_path)
    errors = torch.stack([terms["error"].detach() for terms in seen]).unflatten(0, (4, 3)).mean(1)
    logged = torch.tensor([float(row["error"]) for row in read_log(tmp_path / LOG_FILE)])
    torch.testing.assert_close(logged, errors)


def test_frozen_parameters_cost_nothing():
    stage = Toy()
    trainer = Trainer(stage, OPTIM)
    before = stage.model[0].weight.clone()
    trainer.module(stage.batches[Share(0)])["total"].backward()
    assert all(p.grad is None for p in stage.model[0].parameters())
    trainer.step(0, [stage.batches[Share(0)]])
    trained = {p for part in (stage.model[1], stage.model[3]) for p in part.parameters()}
    assert set(trainer.optimizer.state) == trained
    assert torch.equal(stage.model[0].weight, before)


def test_accumulated_parts_teach_what_the_whole_batch_does(tmp_path):
    whole, parts = Toy(dropout=0.0), Toy(dropout=0.0)
    _run(whole, tmp_path / "whole")
    optim = replace(OPTIM, accumulate=2)
    _run(parts, tmp_path / "parts", optim=optim)
    assert parts.seen == 2 * whole.seen
    torch.testing.assert_close(_weights(parts), _weights(whole))
    for one, other in zip(
        read_log(tmp_path / "whole" / LOG_FILE),
        read_log(tmp_path / "parts" / LOG_FILE),
        strict=True,
    ):
        assert float(one["error"]) == pytest.approx(float(other["error"]), rel=1e-5)


def test_a_batch_that_cannot_be_split_is_refused(tmp_path):
    optim = replace(OPTIM, accumulate=3)
    with pytest.raises(FcpError, match=r"optim\.batch: 4 .* choose a multiple of 3"):
        _run(Toy(), tmp_path, optim=optim)


def test_epochs_become_steps(tmp_path):
    optim = replace(OPTIM, iterations=None, epochs=1.5)
    stage = Toy()
    _run(stage, tmp_path, optim=optim)
    assert stage.seen == 4  # 15 samples, 4 a step


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
    assert _timeless(tmp_path / "cut" / LOG_FILE) == _timeless(tmp_path / "whole" / LOG_FILE)


def test_a_row_that_a_kill_cut_short_is_dropped(tmp_path):
    _run(Toy(), tmp_path)
    whole = _timeless(tmp_path / LOG_FILE)
    with (tmp_path / LOG_FILE).open("a") as log:
        log.write("1,0.25")
    _run(Toy(), tmp_path, resume=True)
    assert _timeless(tmp_path / LOG_FILE) == whole


def test_a_resumed_run_may_be_longer_and_slower(tmp_path):
    _run(Toy(), tmp_path)
    resumed = Toy()
    optim = replace(OPTIM, iterations=16, learning_rate=1e-3)
    _run(resumed, tmp_path, optim=optim, resume=True)
    assert resumed.seen == 4
    assert float(read_log(tmp_path / LOG_FILE)[-1]["learning_rate"]) < 1e-3


def test_a_run_with_more_steps_than_the_recipe_is_refused(tmp_path):
    _run(Toy(), tmp_path)
    with pytest.raises(
        FcpError, match=r"already at step 12, and the recipe has 6; set optim\.iter"
    ):
        _run(Toy(), tmp_path, optim=replace(OPTIM, iterations=6), resume=True)
    _run(Toy(), tmp_path, resume=True)  # nothing is left to do


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(FcpError, match="without --resume"):
        _run(Toy(), tmp_path, resume=True)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _run(Toy(), tmp_path)
    other = Toy()
    other.model[3] = nn.Linear(8, 2)
    with pytest.raises(FcpError, match=r"2 entries do not fit, first 3\.bias.* --out"):
        _run(other, tmp_path, resume=True)


def test_another_number_of_processes_may_resume(tmp_path):
    _run(Toy(), tmp_path)
    content = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)
    content["random"] = content["random"] * 2
    torch.save(content, tmp_path / CHECKPOINT_FILE)
    resumed = Toy()
    lines = _run(resumed, tmp_path, optim=replace(OPTIM, iterations=16), resume=True)
    assert "another number of processes" in lines[0]
    assert resumed.seen == 4


def test_a_damaged_checkpoint_is_refused(tmp_path):
    _run(Toy(), tmp_path)
    file = tmp_path / CHECKPOINT_FILE
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(FcpError, match="damaged checkpoint; delete it to start anew"):
        _run(Toy(), tmp_path, resume=True)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    whole = Toy()
    _run(whole, tmp_path / "whole")
    rename = Path.replace
    done = []

    def full(path, target):
        if target.name == CHECKPOINT_FILE and len(done) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(target.name) if target.name == CHECKPOINT_FILE else None
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FcpError, match="No space left"):
        _run(Toy(), tmp_path / "cut")
    monkeypatch.undo()
    resumed = Toy()
    _run(resumed, tmp_path / "cut", resume=True)
    assert resumed.seen == 8
    torch.testing.assert_close(_weights(resumed), _weights(whole), rtol=0, atol=0)
    assert not [p for p in (tmp_path / "cut").iterdir() if p.name.startswith(".")]


def test_the_message_names_term_and_remedy(tmp_path):
    with pytest.raises(FcpError, match="step 0: loss term error, total") as caught:
        _run(Toy(spoil_at=1), tmp_path)
    assert "learning_rate" in str(caught.value)


def test_the_best_model_is_kept_and_training_is_the_same_as_without(tmp_path):
    plain = Toy()
    _run(plain, tmp_path / "plain")
    judged, kept = Toy(), []
    scores = iter([0.2, 0.5, 0.4])

    def score():
        assert not judged.model.training
        torch.rand(5)
        return next(scores)

    holdout = Holdout(every=5, score=score, save=lambda: kept.append(judged.seen))
    _run(judged, tmp_path / "judged", holdout=holdout)
    assert kept == [5, 10]
    assert judged.model.training
    torch.testing.assert_close(_weights(judged), _weights(plain), rtol=0, atol=0)
    rows = read_log(tmp_path / "judged" / LOG_FILE)
    assert {row["step"]: row["holdout"] for row in rows if row["holdout"]} == {
        "5": "0.2",
        "10": "0.5",
        "12": "0.4",
    }


def test_a_resumed_run_remembers_the_best_score(tmp_path):
    kept = []
    holdout = Holdout(every=4, score=lambda: 0.9, save=lambda: kept.append("first"))
    _run(Toy(), tmp_path, holdout=holdout)
    optim = replace(OPTIM, iterations=16)
    worse = Holdout(every=4, score=lambda: 0.8, save=lambda: kept.append("second"))
    _run(Toy(), tmp_path, optim=optim, resume=True, holdout=worse)
    assert kept == ["first"]
