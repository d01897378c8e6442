"""The tested model as protocol cards describe it, and its predictor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fcp.config import Fusion
from fcp.documents import load_json
from fcp.errors import FcpError
from fcp.evaluation.method_predictor import MethodPredictor
from fcp.evaluation.predictor import FCPPredictor
from fcp.features.cache import FeatureCache
from fcp.features.frozen import Encoders, open_encoders
from fcp.method.fusion import RULES
from fcp.method.names import parse_name
from fcp.method.registry import load_method
from fcp.method.stages import backbone_settings
from fcp.models.checkpoint import load_model
from fcp.models.files import CONFIG_FILE
from fcp.models.trained import TRAINED_FORMAT, load_trained

FREE_FORMAT = "fcp-free-1"
# Side (px) of the pictures that methods without training are given, that of SAM's frame: they
# resize to their own from there.
FREE_SIZE = 1024
PRECISION = "float32"
NO_SWITCH = "does not apply"
OWN_RULE = "the method's own"
_LIBRARIES = ("torch", "transformers", "numpy")


@dataclass(frozen=True)
class TestedModel:
    """What a protocol card says of the method itself.

    Attributes:
        method: Name of the method.
        options: Options of the method, as JSON.
        released: Whether the method does by accident what its authors' program does: "yes", "no",
            or ``NO_SWITCH`` of a method without such a switch.
        shots: Rule by which K shots become one answer.
    """

    __test__ = False  # no test class, whatever its name

    method: str
    options: str
    released: str
    shots: str


def describe_model(model: Path | str, fusion: Fusion = "mean") -> TestedModel:
    """Describe a model, without loading it.

    Args:
        model: Folder of a model of any format, or name of a method without training.
        fusion: Rule by which the shots become one answer.

    Raises:
        FcpError: damaged settings, or another fusion for a method that has its own.
    """
    settings = free_settings(model)
    if settings is None and isinstance(model, Path):
        settings = load_json(model / CONFIG_FILE) if (model / CONFIG_FILE).exists() else {}
        if settings.get("format") != TRAINED_FORMAT:
            return TestedModel("fcp", "{}", NO_SWITCH, RULES[fusion])
    if fusion != "mean":
        raise FcpError(f"fusion: {model} has its own rule for several examples; leave it out")
    options = dict((settings or {}).get("options", {}))
    released = "yes" if options.pop("released", False) else "no"
    named = str((settings or {}).get("method", model))
    return TestedModel(named, json.dumps(options, sort_keys=True), released, OWN_RULE)


def free_settings(model: Path | str) -> dict[str, Any] | None:
    """Return name (``method``) and ``options`` of a method without training; None of another model.

    Args:
        model: Folder, or a name ``free:…``.

    Raises:
        FcpError: an unknown name, or damaged settings.
    """
    if isinstance(model, str):
        return {"method": str(parse_name(model)), "options": {}}
    file = model / CONFIG_FILE
    settings = load_json(file) if file.exists() else {}
    if settings.get("format") != FREE_FORMAT:
        return None
    named, options = settings.get("name"), settings.get("options", {})
    if not isinstance(named, str) or not isinstance(options, dict):
        raise FcpError(f"{file}: expected the name of a method (free:…) and its options")
    return {"method": str(parse_name(named)), "options": options}


def open_predictor(
    model: Path | str,
    *,
    device: str = "cpu",
    store: FeatureCache | None = None,
    fusion: Fusion = "mean",
) -> FCPPredictor | MethodPredictor:
    """Load a model to be evaluated.

    Args:
        model: Folder of a model of any format, or name of a method without training.
        device: Device that the model runs on.
        store: Store on disk of the frozen encoders' features; None to keep them in memory alone.
        fusion: Rule by which K shots become one answer, of FCP.

    Raises:
        FcpError: the folder holds no whole model, or weights are missing.
    """
    free = free_settings(model)
    if free is not None or isinstance(model, str):
        return _open_free(free or {}, device)
    if load_json(model / CONFIG_FILE).get("format") == TRAINED_FORMAT:
        return _open_trained(model, device, store)
    return load_predictor(model, device=device, store=store, fusion=fusion)


def load_predictor(
    folder: Path,
    *,
    device: str = "cpu",
    store: FeatureCache | None = None,
    fusion: Fusion = "mean",
) -> FCPPredictor:
    """Load a folder of FCP to be evaluated; see ``open_predictor``.

    Raises:
        FcpError: the folder holds no whole model.
    """
    model = load_model(folder, device=device)
    encoders = open_encoders(Encoders.of(model), store)
    return FCPPredictor(model, encoders=encoders, fusion=fusion)


def _open_trained(folder: Path, device: str, store: FeatureCache | None) -> MethodPredictor:
    loaded = load_trained(folder, device)
    backbone = loaded.model.backbone
    settings = backbone_settings(backbone, loaded.options.get("backbone", "resnet50"))
    encoders = open_encoders(Encoders(backbone, settings, loaded.model.support_view), store)
    return MethodPredictor(loaded.model, image_size=loaded.image_size, encoders=encoders)


def _open_free(settings: dict[str, Any], device: str) -> MethodPredictor:
    method = load_method(settings["method"], **settings["options"]).to(device)
    return MethodPredictor(method, image_size=FREE_SIZE, device=device)


def libraries() -> str:
    """Return the versions of the libraries that numbers depend on."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)
