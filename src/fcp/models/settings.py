"""Settings of a model's folder: formats by name, and reading. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcp.errors import FcpError
from fcp.method.names import is_free
from fcp.models.files import CONFIG_FILE
from fcp.system.documents import load_json

FCP_FORMAT = "fcp-1"
FREE_FORMAT = "fcp-free-1"  # a method without training
TRAINED_FORMAT = "fcp-trained-1"  # a compared method
BASE_LEARNER_FORMAT = "fcp-base-learner-1"


def format_of(model: str | Path) -> object:
    """Return the format of a model.

    Args:
        model: Folder of a model of any format, or name of a method without training.

    Raises:
        FcpError: the settings of a folder are missing or damaged, or those of an encoder alone.
    """
    if isinstance(model, str) and is_free(model):
        return FREE_FORMAT
    path = Path(model) / CONFIG_FILE
    content = load_json(path)
    _refuse_encoder(path, content)
    return content.get("format")


def read_settings(path: Path, expected: str) -> dict[str, Any]:
    """Read the settings of a model's folder, without their ``format``.

    Args:
        path: File of the settings.
        expected: Format that it must have.

    Raises:
        FcpError: missing or damaged, of another format, or of an encoder alone.
    """
    settings = dict(load_json(path))
    _refuse_encoder(path, settings)
    found = settings.pop("format", None)
    if found != expected:
        raise FcpError(f"{path}: expected a model of format {expected!r}, got {found!r}")
    return settings


def _refuse_encoder(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse the settings of transformers, and name a method that such an encoder can serve.

    Raises:
        FcpError: they are those of an encoder.
    """
    kind = content.get("model_type")
    if kind is None or "format" in content:
        return
    method = "persam" if str(kind).startswith("sam") else "insid3"
    raise FcpError(
        f"{path.parent}: holds an encoder ({kind}), which alone is no model; name a method that "
        f"uses it, such as free:{method}+{path.parent}"
    )
