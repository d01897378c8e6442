"""The processes that train together, as accelerate or torchrun started them; one if none did."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor

from fcp.system.locks import hold_folder
from fcp.system.threads import usable_cores

# The others wait while one process scores the hold-out or prepares data; with the default patience
# of ten minutes such a run would end.
_PATIENCE = timedelta(hours=6)
# Most loader workers of a process. On a CPU they take cores from the steps.
_WORKERS = {"cpu": 4, "cuda": 16}


def processes() -> PartialState:
    """Return this process's state: its index, the number of processes, device, barriers."""
    if PartialState._shared_state:
        return PartialState()
    # Without an accelerator, torchrun's processes find each other only with cpu=True.
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)


def is_main() -> bool:
    """Return whether this process is the one that writes files and lines."""
    return bool(processes().is_main_process)


def hold_run(out: Path) -> AbstractContextManager[None]:
    """Return a context in which the main process keeps other runs out of a run's folder.

    Raises:
        FcpError: another run holds the folder, or it cannot be written; as the context is entered.
    """
    return hold_folder(out) if is_main() else nullcontext()


def loader_workers() -> int:
    """Return how many other processes may read pictures for this one, at least one."""
    # Set by torchrun and accelerate; the processes of other machines have cores of their own.
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or processes().num_processes)
    cores = usable_cores() // here
    return min(_WORKERS.get(processes().device.type, _WORKERS["cpu"]), max(1, cores - 1))


def to_device(batch: Any) -> Any:  # noqa: ANN401  (any nesting of tensors and other values)
    """Move the tensors of a batch, also those in dictionaries, to this process's device."""
    if isinstance(batch, Tensor):
        return batch.to(processes().device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: to_device(value) for name, value in batch.items()}
    return batch


def leave() -> None:
    """Leave the group of processes; no call that needs the others may follow."""
    processes().destroy_process_group()
