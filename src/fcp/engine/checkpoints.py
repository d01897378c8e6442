"""Resumable checkpoints: one file that is whole or absent, for any number of processes.

It holds all that training changes: trainable parameters, buffers, the optimiser's moments, every
process's random state, and the sums since the log's last row. Frozen encoders are loaded from their
own weights.
"""

from __future__ import annotations

import io
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from fcp.engine.processes import processes
from fcp.errors import FcpError
from fcp.system.files import write_atomically

CHECKPOINT_FILE = "checkpoint.pt"


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
) -> None:
    """Replace the folder's checkpoint; all processes call this, the main one writes.

    Args:
        folder: Folder of the run; several machines share it.
        model: Trained model, with its frozen parts.
        optimizer: Optimiser of the model's trainable parameters.
        progress: Plain values and tensors to get back from ``load_checkpoint``.

    Raises:
        FcpError: the disk is full or not writable; the previous checkpoint is kept.
    """
    states = gather_object([random_state()])
    if processes().is_main_process:
        content = {
            "model": {name: tensor.detach().cpu() for name, tensor in _changing(model).items()},
            "moments": optimizer.state_dict()["state"],
            "random": states,
            "progress": dict(progress),
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(folder / CHECKPOINT_FILE, buffer.getvalue())
    processes().wait_for_everyone()


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], bool]:
    """Restore model, optimiser and this process's random state from the checkpoint.

    Rates and decay stay those of the optimiser as given, so that a resumed run may change them.

    Returns:
        The saved ``progress``, and whether the random state could be restored: it cannot where
        another number of processes made the checkpoint.

    Raises:
        FcpError: no checkpoint, a damaged one, or one of another model.
    """
    file = folder / CHECKPOINT_FILE
    if not file.exists():
        raise FcpError(f"{file}: no checkpoint to resume from; start without --resume")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        saved, moments, states = content["model"], content["moments"], content["random"]
        progress = content["progress"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise FcpError(f"{file}: damaged checkpoint; delete it to start anew") from error
    _copy_into(_changing(model), saved, file)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    same = len(states) == processes().num_processes
    if same:
        set_random_state(states[processes().process_index])
    return progress, same


def random_state() -> dict[str, Any]:
    """Return the state of all random generators of this process, as plain values and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.accelerator.is_available():
        state["accelerator"] = torch.get_device_module().get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set all random generators of this process to a state returned by ``random_state``."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "accelerator" in state and torch.accelerator.is_available():
        torch.get_device_module().set_rng_state(state["accelerator"])


def _changing(model: nn.Module) -> dict[str, Tensor]:
    """Return trainable parameters and buffers by name."""
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    return {
        name: tensor
        for name, tensor in state.items()
        if tensor.requires_grad or not isinstance(tensor, nn.Parameter)
    }


def _copy_into(own: Mapping[str, Tensor], saved: Mapping[str, Tensor], file: Path) -> None:
    wrong = sorted(
        name
        for name in own.keys() | saved.keys()
        if name not in own or name not in saved or own[name].shape != saved[name].shape
    )
    if wrong:
        raise FcpError(
            f"{file}: made by another model ({len(wrong)} entries do not fit, first {wrong[0]}); "
            "resume with the recipe it was started with, or start anew in another --out"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])
