"""Settings of a model's folder: formats by name, and reading. Light: no torch."""

from __future__ import annotations

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
        FcpError: the settings of a folder are missing or damaged.
    """
    if isinstance(model, str) and is_free(model):
        return FREE_FORMAT
    return load_json(Path(model) / CONFIG_FILE).get("format")


def read_settings(path: Path, expected: str) -> dict[str, Any]:
    """Read the settings of a model's folder, without their ``format``.

    Args:
        path: File of the settings.
        expected: Format that it must have.

    Raises:
        FcpError: missing or damaged, or of another format.
    """
    settings = dict(load_json(path))
    found = settings.pop("format", None)
    if found != expected:
        raise FcpError(f"{path}: expected a model of format {expected!r}, got {found!r}")
    return settings
