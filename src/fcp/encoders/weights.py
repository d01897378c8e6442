"""Weight files, read without running any pickle's code, and loaded without silent omissions."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fcp.errors import FcpError

# Counters that files written before PyTorch 0.4.1 lack and that frozen batch norms never read.
_OPTIONAL_SUFFIX = "num_batches_tracked"
_SHOWN = 3
# Opcodes of a pickle that call or create objects; and the number of pickles in a torch file.
_CALLS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "REDUCE", "BUILD"})
_MOST_PICKLES = 6


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of a ``.safetensors`` file or of a torch file (``.pth``, ``.pt``).

    Torch files are read with ``weights_only=True``. Wrappers of training programs are removed: a
    ``state_dict`` or ``model`` entry, and the ``module.`` prefix of data-parallel training.

    Raises:
        FcpError: the file is missing, truncated, no weight file, or holds more than weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FcpError(f"{path}: no such weight file; check the path")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapping in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapping), Mapping):
            content = content[wrapping]
    if not isinstance(content, Mapping) or not content:
        raise FcpError(f"{path}: holds no named weights; give a file with a model's state_dict")
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise FcpError(f"{path}: entry {name!r} is no tensor; give a file with weights only")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], source: str | Path, *, assign: bool = False
) -> None:
    """Load a state dict that must fit name by name and shape by shape.

    Args:
        module: Module that takes the weights.
        state: Named tensors; only batch norms' counters may be missing.
        source: File of the tensors, for the error.
        assign: Whether the tensors become the module's own instead of being copied (for modules on
            the meta device).

    Raises:
        FcpError: an entry does not fit; the message names the file and the first such entries.
    """
    expected = module.state_dict()
    problems = [f"{name} is missing" for name in expected if _is_missing(name, state)]
    problems += [f"{name} is unknown" for name in state if name not in expected]
    problems += [
        f"{name} has shape {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise FcpError(
            f"{source}: weights of another architecture: {'; '.join(problems[:_SHOWN])}{more};"
            " choose the matching encoder or its options"
        )
    module.load_state_dict(state, strict=False, assign=assign)


def _is_missing(name: str, state: Mapping[str, Tensor]) -> bool:
    return name not in state and not name.endswith(_OPTIONAL_SUFFIX)


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FcpError(f"{path}: no intact safetensors file ({error}); get it anew") from error


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _holds_objects(path):
            raise FcpError(
                f"{path}: holds Python objects beside weights, which are never loaded; save the"
                " model's state_dict alone, best as .safetensors"
            ) from error
        raise FcpError(f"{path}: truncated or no weight file; get it anew") from error
    except Exception as error:  # a damaged pickle stream can raise nearly anything
        raise FcpError(f"{path}: truncated or no weight file; get it anew") from error


def _holds_objects(path: Path) -> bool:
    """Return whether a torch file is complete and holds more than weights; none of it is run."""
    found: set[str] = set()
    with suppress(Exception):  # the end of the pickles, or no pickle at all
        content = _pickles(path)
        for _ in range(_MOST_PICKLES):
            found |= {code.name for code, _, _ in pickletools.genops(content)}
    return bool(found & _CALLS)


def _pickles(path: Path) -> io.BytesIO:
    """Return the pickles of a torch file, which is an archive in the newer format."""
    if not zipfile.is_zipfile(path):
        return io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return io.BytesIO(archive.read(name))
