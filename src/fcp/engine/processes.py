"""The processes that train together, as accelerate or torchrun started them; one if none did."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import PartialState

# Others wait while one scores the hold-out or prepares data; the usual ten minutes end such a run.
_PATIENCE = timedelta(hours=6)


def processes() -> PartialState:
    """Return this process's place among all: index, number, device, barriers."""
    if PartialState._shared_state:
        return PartialState()
    # Without an accelerator, torchrun's processes find each other only if told to use the CPU.
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)


def is_main() -> bool:
    """Tell whether this process is the one that writes files and lines."""
    return bool(processes().is_main_process)


def leave() -> None:
    """Part from the other processes; nothing that needs them can follow."""
    processes().destroy_process_group()
