"""A model's folder with weights, of any format: written whole and read with checks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from fcp.encoders.weights import read_state_dict
from fcp.errors import FcpError
from fcp.models.files import CONFIG_FILE, PRESENCE_FILE, WEIGHTS_FILE
from fcp.system.files import make_folder, write_together


def write_folder(
    folder: Path,
    settings: Mapping[str, Any],
    state: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model's folder; each of its files is complete or absent.

    Args:
        folder: Folder to write; made if missing. An older model in it is replaced once the files
            of this one are complete.
        settings: Plain values of ``config.json``, with the ``format`` of the folder.
        state: Tensors of ``model.safetensors``.
        dtype: Type of floating tensors on disk; a tensor with values outside its range keeps its
            own. None for their own types.

    Raises:
        FcpError: the folder cannot be written, or the disk is full.
    """
    make_folder(folder)
    tensors = {name: _on_disk(tensor, dtype) for name, tensor in state.items()}
    weights = save(tensors, metadata={"format": "pt"})
    plain = (json.dumps(settings, indent=2) + "\n").encode()
    write_together(folder, {WEIGHTS_FILE: weights, CONFIG_FILE: plain})
    # A judge of presence fitted to older weights is not valid for these.
    (folder / PRESENCE_FILE).unlink(missing_ok=True)


def holds_model(folder: Path) -> bool:
    """Return whether a folder holds a model, or part of one, which ``write_folder`` would replace.

    A file of another program that has the name of one of a model's counts, too.
    """
    return any((folder / name).exists() for name in (CONFIG_FILE, WEIGHTS_FILE, PRESENCE_FILE))


def remove_model(folder: Path) -> None:
    """Remove a model's files, and the folder if nothing else is in it."""
    for name in (CONFIG_FILE, WEIGHTS_FILE, PRESENCE_FILE):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a model's folder.

    Raises:
        FcpError: missing or damaged, or a tensor holds values that are not finite.
    """
    state = dict(read_state_dict(path))
    # Sums are faster to check; but a sum of finite values may overflow.
    suspects = [n for n, tensor in state.items() if not tensor.sum(dtype=torch.float32).isfinite()]
    broken = next((name for name in suspects if not state[name].isfinite().all()), None)
    if broken is not None:
        raise FcpError(f"{path}: {broken} holds values that are not finite; get it anew")
    return state


def _on_disk(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Copy a tensor (tied ones too, which a file cannot share) and cast it if that is safe."""
    copy = tensor.detach().to("cpu", copy=True).contiguous()
    if dtype is None or not copy.is_floating_point():
        return copy
    cast = copy.to(dtype)
    return cast if cast.isfinite().all() else copy
