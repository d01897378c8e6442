"""Toy trainings in processes of their own, which are forked after torch was imported once."""

import multiprocessing
import os
import socket
import time
import traceback
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from fcp.engine.loop import fit
from fcp.engine.optim import OptimConfig
from fcp.engine.processes import is_main, processes

WEIGHTS = "toy.safetensors"
# The server imports once what each process would import anew, some of it at its first step.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["fcp.engine.loop", "torch._dynamo", "torch.distributed.tensor"])


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
    fit(toy, OptimConfig(**optim), seed=0, out=out, resume=resume, report=lambda _: None)
    if is_main():
        save_file(toy.model.state_dict(), out / WEIGHTS)


def start_toys(out: Path, count: int, optim: dict, **rest) -> list[BaseProcess]:
    """Start a run on so many processes, as torchrun does; what each raises lands in a file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    started = []
    for rank in range(count):
        there = {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {}
        started.append(FORKS.Process(target=_child, args=(there, out, optim, rest)))
        started[-1].start()
    return started


def end_toys(started: list[BaseProcess], *, seconds: float = 280) -> int:
    """Wait for all to end, return a bad status if any has one; where one fails, end the others."""
    end = time.monotonic() + seconds
    while any(process.exitcode is None for process in started):
        assert time.monotonic() < end, "still running"
        if any(process.exitcode for process in started):
            time.sleep(1)  # for what the others have to say
            for process in started:
                process.kill()
        time.sleep(0.02)
    return next((process.exitcode for process in started if process.exitcode), 0)


def errors_of(out: Path) -> str:
    """Return what the processes of a run raised."""
    return "".join(file.read_text() for file in sorted(out.glob("raised-*")))


def _child(there: dict[str, str], out: Path, optim: dict, rest: dict) -> None:
    os.environ.update(there, OMP_NUM_THREADS="1")
    multiprocessing.set_start_method("fork", force=True)  # for the loader, as in a plain run
    torch.set_num_threads(1)
    try:
        run_toy(out, optim, **rest)
    except BaseException:
        (out / f"raised-{os.getpid()}").write_text(traceback.format_exc())
        raise
