"""The processes that train together, as accelerate or torchrun started them; one if none did."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import PartialState

# The others wait while one process scores the hold-out or prepares data; with the default patience
# of ten minutes such a run would end.
_PATIENCE = timedelta(hours=6)


def processes() -> PartialState:
    """Return this process's state: its index, the number of processes, device, barriers."""
    if PartialState._shared_state:
        return PartialState()
    # Without an accelerator, torchrun's processes find each other only with cpu=True.
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)


def is_main() -> bool:
    """Return whether this process is the one that writes files and lines."""
    return bool(processes().is_main_process)


def leave() -> None:
    """Leave the group of processes; no call that needs the others may follow."""
    processes().destroy_process_group()
