"""Methods without training by name or folder. Light: torch is loaded with a method, not before.

A folder's ``config.json`` names the method and its encoders, which stay where they are; or it
describes encoders of ours, whose weights then lie in the folder. ``presence.json`` may lie beside
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcp.checks import check, from_dict, to_dict
from fcp.config import EncodersConfig
from fcp.encoders.places import find_folder, installed_folder, on_this_machine
from fcp.errors import FcpError
from fcp.method.names import PREFIX, FreeName, choose_default, is_free, parse_name
from fcp.models.files import CONFIG_FILE, PRESENCE_FILE, WEIGHTS_FILE
from fcp.models.settings import FREE_FORMAT
from fcp.system.documents import load_json
from fcp.system.files import make_folder, sha256_of, write_atomically
from fcp.system.memory import free_memory

if TYPE_CHECKING:
    from fcp.method.free import FreeMethod


@dataclass(frozen=True)
class LoadedFree:
    """A method without training, ready to use.

    Attributes:
        method: Method in evaluation mode.
        name: Name of its parts.
        options: Options that it was built with.
        encoders: Settings of its encoders, where their weights lie in its folder; else None.
    """

    method: FreeMethod
    name: FreeName
    options: dict[str, Any] = field(default_factory=dict)
    encoders: EncodersConfig | None = None

    @property
    def channels(self) -> int:
        """Number of channels of the features that it compares."""
        parts: Any = self.method  # which has cells or a segmenter, or both
        return int(parts.cells.channels if hasattr(parts, "cells") else parts.segmenter.width)


@dataclass(frozen=True)
class _Config:
    """Content of ``config.json``; see ``LoadedFree``."""

    format: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    encoders: EncodersConfig | None = None

    def __post_init__(self) -> None:
        check(self)
        if self.format != FREE_FORMAT:
            raise FcpError(f"format: expected {FREE_FORMAT!r}, got {self.format!r}")


def choose_free(device: str) -> tuple[FreeName, str]:
    """Choose what plain ``free`` stands for here, by what is installed and by memory.

    Args:
        device: "auto", or the name of a torch device.

    Returns:
        The choice, and one line that says it and why.
    """
    return choose_default(free_memory(device), lambda part: installed_folder(part) is not None)


def load_free(model: str | Path, device: str = "auto") -> LoadedFree:
    """Load a method by its name or from its folder; missing encoders are fetched.

    Args:
        model: Name as ``names.parse_name`` reads it, or folder with ``config.json``.
        device: Device that plain ``free`` is chosen for.

    Raises:
        FcpError: an unknown name or option, a damaged folder, or weights that are missing or do
            not fit.
    """
    own = own_encoders(model)
    if own is not None:
        from fcp.models.free_on_own import load_on_own

        name, options = read_free(model)
        found = load_on_own(Path(model), name, options, own)
        return LoadedFree(found, name, dict(options), own)
    from fcp.method.registry import load_method

    name, options = read_free(model, device)
    return LoadedFree(load_method(name, **options), name, dict(options))


def save_free(loaded: LoadedFree, folder: Path) -> None:
    """Write a method's folder; encoders that lie in folders are named by their full paths.

    Raises:
        FcpError: the folder cannot be written.
    """
    if loaded.encoders is not None:
        from fcp.models.free_on_own import save_on_own

        save_on_own(loaded.method, loaded.name, loaded.options, loaded.encoders, folder)
        return
    make_folder(folder)
    name = FreeName(
        loaded.name.method, _settled(loaded.name.backbone), _settled(loaded.name.segmenter)
    )
    content = {"format": FREE_FORMAT, "name": str(name), "options": loaded.options}
    write_atomically(folder / CONFIG_FILE, (json.dumps(content, indent=2) + "\n").encode())
    # A judge of presence fitted to another method is not valid for this one.
    (folder / PRESENCE_FILE).unlink(missing_ok=True)


def find_parts(name: FreeName) -> list[Path]:
    """Find the weights of a method's encoders, or fetch them.

    Raises:
        FcpError: they are missing and cannot be fetched.
    """
    return [find_folder(part) for part in (name.backbone, name.segmenter) if part]


def local_parts(name: FreeName) -> list[Path]:
    """List the encoders of a method that its name gives as a folder or file of this machine."""
    return on_this_machine(part for part in (name.backbone, name.segmenter) if part)


def hash_free(model: str | Path, device: str = "auto") -> str:
    """Hash all that decides a method's results, except its presence: name, options, weights.

    Args:
        model: See ``load_free``.
        device: Device that plain ``free`` is chosen for.

    Raises:
        FcpError: an unknown name, a damaged folder, or weights that are missing.
    """
    name, options = read_free(model, device)
    digest = hashlib.sha256(f"{name.method} {sorted(options.items())!r}".encode())
    own = own_encoders(model)
    if own is not None:
        digest.update(f"{to_dict(own)!r}{sha256_of(Path(model) / WEIGHTS_FILE)}".encode())
    for place in find_parts(name):
        digest.update(hash_weights(place).encode())
    return digest.hexdigest()


def hash_weights(place: Path) -> str:
    """Return the joined hashes of a file of weights, or of a folder's weights and settings."""
    files = [place] if place.is_file() else sorted(place.glob("*.*"))
    read = (".json", ".safetensors", ".bin", ".pth", ".pt")
    return "".join(_hash_of(file) for file in files if file.suffix in read)


def read_free(model: str | Path, device: str = "auto") -> tuple[FreeName, Mapping[str, Any]]:
    """Return the parts of a method and its options; see ``load_free``.

    Raises:
        FcpError: an unknown name, or a damaged folder.
    """
    if model == PREFIX:
        return choose_free(device)[0], {}
    if isinstance(model, str) and model.startswith(f"{PREFIX}:"):
        return parse_name(model), {}
    path = Path(model) / CONFIG_FILE
    config = _read(path)
    try:
        name = parse_name(config.name)
    except FcpError as error:
        raise FcpError(f"{path}: {error}") from error
    return (name if config.encoders is None else FreeName(name.method, None, None)), config.options


def own_encoders(model: str | Path) -> EncodersConfig | None:
    """Return the settings of the encoders whose weights lie in a method's folder.

    Args:
        model: Name or folder of a method.

    Returns:
        The settings; None where the encoders lie elsewhere.

    Raises:
        FcpError: a damaged folder.
    """
    if isinstance(model, str) and is_free(model):
        return None
    return _read(Path(model) / CONFIG_FILE).encoders


def _read(path: Path) -> _Config:
    return from_dict(_Config, load_json(path), str(path))


def _settled(part: str | None) -> str | None:
    """Return a part that is a file or folder by its full path."""
    if part is None or not Path(part).expanduser().exists():
        return part
    return str(Path(part).expanduser().resolve())


def _hash_of(file: Path) -> str:
    """Hash a file's content; the hub's cache calls its files by their hashes, which saves that."""
    real = file.resolve()
    return real.name if real.parent.name == "blobs" else sha256_of(file)
