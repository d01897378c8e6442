"""Loading for use: names → models, folders and devices, and a model's faster form.

Light: torch is imported inside the functions, so that wrong names are told before it is loaded.
"""

from __future__ import annotations

import copy
import re
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import snapshot_download

from fcp.encoders.places import from_hub, on_this_machine
from fcp.errors import FcpError
from fcp.method.names import is_free
from fcp.models.files import CARD_FILE, CONFIG_FILE, PRESENCE_FILE, WEIGHTS_FILE
from fcp.models.free import hash_free, hash_weights, load_free
from fcp.models.settings import FREE_FORMAT, TRAINED_FORMAT, format_of
from fcp.system.documents import load_json
from fcp.system.files import sha256_of

if TYPE_CHECKING:
    import torch

    from fcp.method.fcp.model import FCP

SHIPPED = ("small", "tiny")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_HUB_FILES = [CONFIG_FILE, WEIGHTS_FILE, PRESENCE_FILE, CARD_FILE]


def find_device(name: str) -> torch.device:
    """Return a device of this machine by its name; ``"auto"`` takes the fastest one.

    Raises:
        FcpError: an unknown name, or a device that this machine lacks.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, here in available.items() if here))
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise FcpError(f"device: expected auto, cpu, cuda or mps, got {name!r}") from error
    beyond = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if not available.get(device.type, False) or beyond:
        raise FcpError(f"device: {name} is not available here; use auto or cpu")
    return device


def find_model(model: str | Path, **hub_options: Any) -> Path:  # noqa: ANN401  (as the hub's)
    """Find the folder with a model's ``config.json`` and ``model.safetensors``.

    Args:
        model: Name of a shipped model (text only), a folder, or a hub id, tried in this order.
        **hub_options: Options of ``huggingface_hub.snapshot_download``.

    Raises:
        FcpError: no model has this name, or the hub cannot provide it.
    """
    if not isinstance(model, str | Path) or model == "":
        raise FcpError(f"model: expected a name or a folder, got {model!r}")
    if model in SHIPPED:
        folder = Path(str(files("fcp") / "models" / str(model)))
        if not folder.is_dir():
            raise FcpError(f"{model}: its weights are not in this installation; install fcp anew")
        return folder
    if Path(model).is_dir():
        return Path(model)
    if isinstance(model, Path) or not _HUB_ID.fullmatch(model):
        known = f"{', '.join(SHIPPED)}, a folder, a hub id owner/name, or free:…"
        raise FcpError(f"{model}: no such model folder; expected {known}")
    try:
        return from_hub(model, partial(_fetch, model, hub_options))
    except FcpError as error:
        as_hub_id = str(error).removeprefix(f"{model}: ")
        raise FcpError(f"{model}: no such folder here; as a hub id: {as_hub_id}") from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FcpError(f"{model}: neither a folder nor found on the hub ({reason})") from error


def _fetch(model: str, hub_options: dict[str, Any], cached: bool) -> Path:
    """Return a model's folder from the hub, or from its cache alone if all of it is there."""
    if not cached:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES, **hub_options))
    options = {**hub_options, "local_files_only": True}
    folder = Path(snapshot_download(model, allow_patterns=_HUB_FILES, **options))
    whole = all((folder / name).exists() for name in (CONFIG_FILE, WEIGHTS_FILE))
    if not whole or hub_options.get("force_download"):
        raise FileNotFoundError(folder)
    return folder


def load_any(
    model: str | Path,
    *,
    device: str = "auto",
    **hub_options: Any,  # noqa: ANN401  (as the hub's)
) -> tuple[Any, Path | None]:
    """Load a model of any family.

    Args:
        model: Name of a method without training, or as ``find_model`` takes it.
        device: Device that plain ``free`` is chosen for.
        **hub_options: Options of ``huggingface_hub.snapshot_download``.

    Returns:
        ``FCP``, ``LoadedFree`` or ``LoadedTrained`` on the CPU, and the model's folder; None of a
        method that is known by its name alone.

    Raises:
        FcpError: no such model, or files that do not make a model.
    """
    if isinstance(model, str) and is_free(model):
        return load_free(model, device), None
    folder = find_model(model, **hub_options)
    kind = format_of(folder)
    if kind == FREE_FORMAT:
        return load_free(folder), folder
    if kind == TRAINED_FORMAT:
        from fcp.models.trained import load_trained

        return load_trained(folder), folder
    from fcp.models.checkpoint import load_model

    return load_model(folder), folder


def for_inference(model: FCP) -> FCP:
    """Copy a model in evaluation mode, with its batch norms folded into its convolutions.

    The copy is faster and its results are the same up to rounding; it is not for training or
    saving. Parts without such a norm, such as the head, are shared with the model.
    """
    from fcp.encoders.folding import fold_norms

    parts = {
        id(model.backbone): fold_norms(model.backbone),
        id(model.segmenter): fold_norms(model.segmenter),
        id(model.head): model.head,
    }
    return copy.deepcopy(model, parts)  # which treats these as copied already


def model_fingerprint(model: str | Path, device: str = "auto") -> str:
    """Hash the files that decide a model's results.

    Args:
        model: See ``load_any``.
        device: Device that plain ``free`` is chosen for.

    Raises:
        FcpError: no such model, or one of its files cannot be read.
    """
    if isinstance(model, str) and is_free(model):
        return hash_free(model, device)
    folder = find_model(model)
    if format_of(folder) == FREE_FORMAT:
        judge = folder / PRESENCE_FILE
        return " ".join([hash_free(folder), *([sha256_of(judge)] if judge.exists() else [])])
    files = [folder / name for name in (CONFIG_FILE, WEIGHTS_FILE, PRESENCE_FILE)]
    # Not every model can judge presence.
    own = [sha256_of(file) for file in files if file.name != PRESENCE_FILE or file.exists()]
    return " ".join([*own, *(hash_weights(place) for place in weights_elsewhere(folder))])


def weights_elsewhere(folder: Path) -> list[Path]:
    """List files and folders of this machine that a model reads its encoders' weights from.

    Raises:
        FcpError: damaged settings.
    """
    settings = load_json(folder / CONFIG_FILE)
    encoders = (settings.get(part) for part in ("backbone", "segmenter"))
    named = (part.get("weights") for part in encoders if isinstance(part, dict))
    return on_this_machine(place for place in named if isinstance(place, str))
