"""Models of transformers and weight files, from the hub or a folder; missing weights are errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from fcp.encoders.places import from_hub, is_here, require_hub, settle
from fcp.errors import FcpError

ModelT = TypeVar("ModelT", bound=PreTrainedModel)
ConfigT = TypeVar("ConfigT", bound=PreTrainedConfig)
T = TypeVar("T")

_WEIGHT_FILE = "model.safetensors"  # timm's and transformers' name
_OF_LOADING = frozenset({"_name_or_path", "transformers_version", "dtype", "architectures"})
_LOADING_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    SafetensorError,
    StrictDataclassError,
)


def load_model(
    model_class: type[ModelT],
    weights: str,
    *,
    may_miss: str = "",
    **settings: Any,  # noqa: ANN401  (of any configuration)
) -> ModelT:
    """Load a model in float32 from a local folder if there is one, else from the hub.

    Args:
        model_class: Model class of transformers.
        weights: Folder in transformers' layout, or hub id.
        may_miss: Part of the names of weights that published files lack by design.
        settings: Entries of the model's configuration to replace.

    Raises:
        FcpError: no such model, no connection, or weights of another architecture.
    """

    def load(source: str, cached: bool) -> Any:  # noqa: ANN401  (of transformers)
        return model_class.from_pretrained(
            source,
            local_files_only=cached,
            dtype=torch.float32,
            output_loading_info=True,
            **settings,
        )

    model, found = _load(weights, load)
    missing = sorted(name for name in found["missing_keys"] if not may_miss or may_miss not in name)
    if missing:
        raise FcpError(
            f"{weights}: weights of another architecture: {', '.join(missing[:3])} missing of"
            f" {len(missing)}; choose an encoder that fits them"
        )
    checked: ModelT = model
    return checked


def find_weight_file(weights: str) -> Path:
    """Find a file of named weights that is not in transformers' layout, such as timm's.

    Args:
        weights: Path of the file, of a folder with ``model.safetensors``, or the hub id of such a
            folder.

    Returns:
        The local file, downloaded into the hub's cache if necessary.

    Raises:
        FcpError: no such file, or no connection.
    """
    source = Path(settle(weights))
    if source.is_file():
        return source
    if source.is_dir():
        if not (source / _WEIGHT_FILE).is_file():
            raise FcpError(f"{weights}: has no {_WEIGHT_FILE}; give the weight file itself")
        return source / _WEIGHT_FILE

    def load(hub_id: str, cached: bool) -> Path:
        return Path(hf_hub_download(hub_id, _WEIGHT_FILE, local_files_only=cached))

    return _load(weights, load)


def require_weights(weights: str | None, *, setting: str) -> None:
    """Refuse weights that are neither on this machine nor to be fetched.

    Args:
        weights: File, folder or hub id; None for none.
        setting: Setting that names them, for the error.

    Raises:
        FcpError: no such file or folder, or a hub id where the hub cannot be asked.
    """
    if weights is None:
        return
    try:
        if not is_here(weights):
            require_hub(settle(weights))
    except FcpError as error:
        raise FcpError(f"{setting}: {error}") from error


def load_config(weights: str) -> PreTrainedConfig:
    """Read the configuration beside a model's weights; raises as ``load_model``."""

    def load(source: str, cached: bool) -> PreTrainedConfig:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, local_files_only=cached)
        return config

    return _load(weights, load)


def make_config(config_class: type[ConfigT], values: Mapping[str, Any] | None) -> ConfigT:
    """Build a configuration from plain values, as transformers writes them in ``config.json``.

    Raises:
        FcpError: a value that no such model can have.
    """
    try:
        return config_class(**(values or {}))
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise FcpError(f"options.config: {' '.join(str(error).split())}") from error


def configs_of(module: nn.Module) -> list[dict[str, Any]]:
    """Return the configurations of transformers' models in a module, as plain values.

    What says where a model was loaded from, by which version or in which type, is left out, so that
    models of equal outputs have equal configurations.
    """
    if isinstance(module, PreTrainedModel):
        values: dict[str, Any] = json.loads(module.config.to_json_string(use_diff=False))
        return [_without(values, _OF_LOADING)]
    return [config for child in module.children() for config in configs_of(child)]


def _without(value: Any, names: frozenset[str]) -> Any:  # noqa: ANN401  (of JSON)
    if not isinstance(value, dict):
        return value
    return {name: _without(one, names) for name, one in value.items() if name not in names}


def refuse_both(weights: str | None, config: Mapping[str, Any] | None) -> None:
    """Refuse an architecture beside weights that come with their own.

    Raises:
        FcpError: both are given.
    """
    if weights is not None and config is not None:
        raise FcpError("options.config: the weights bring their own; give one of the two")


def _load(weights: str, load: Callable[[str, bool], T]) -> T:
    """Call ``load(source, cached)`` for a local folder or a hub id; its failures become one line.

    Raises:
        FcpError: nothing there, no connection, or it cannot be loaded.
    """
    source = settle(weights)
    try:
        with _quiet():
            if Path(source).exists():
                return load(source, True)
            return from_hub(weights, lambda cached: load(source, cached))
    except _LOADING_ERRORS as error:
        raise FcpError(_explain(weights, error)) from error


def _explain(weights: str, error: Exception) -> str:
    reason = str(error).strip().split("\n", 1)[0]
    if Path(weights).expanduser().exists():
        return f"{weights}: cannot be loaded ({reason}); give a folder with config.json and weights"
    return (
        f"{weights}: no such folder, and the hub did not give it ({reason}); check the name and the"
        " connection, or give a local folder"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress transformers' report and progress bars: ``load_model`` makes its own check."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
