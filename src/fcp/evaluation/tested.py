"""The tested model as protocol cards describe it, and its predictor."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fcp.config import Fusion
from fcp.encoders import LazyBuilder
from fcp.errors import FcpError
from fcp.evaluation.method_predictor import MethodPredictor, encoders_of
from fcp.evaluation.predictor import FCPPredictor
from fcp.features.cache import FeatureCache
from fcp.features.frozen import Encoders, open_encoders
from fcp.method.fusion import RULES
from fcp.method.registry import METHODS
from fcp.method.trained import find_builder
from fcp.models.checkpoint import load_model
from fcp.models.free import load_free, read_free
from fcp.models.settings import FREE_FORMAT, TRAINED_FORMAT, format_of
from fcp.models.trained import load_trained, read_trained

PRECISION = "float32"
STORED_PRECISION = "float32, features stored as float16"
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
    """Describe a model, without loading its weights.

    Args:
        model: Folder of a model of any format, or name of a method without training.
        fusion: Rule by which the shots become one answer.

    Raises:
        FcpError: damaged settings, or another fusion for a method that has its own.
    """
    kind = format_of(model)
    builder: Callable[..., Any]
    if kind == FREE_FORMAT:
        name, options = read_free(model)
        method, own, builder = str(name), {**options}, METHODS[name.method].load()
    elif kind == TRAINED_FORMAT:
        settings = read_trained(Path(model))
        method, own = settings.method, {**settings.options}
        builder = find_builder(method)
    else:
        return TestedModel("fcp", "{}", NO_SWITCH, RULES[fusion])
    if fusion != "mean":
        raise FcpError(f"fusion: {model} has its own rule for several examples; leave it out")
    released = _released(builder, own.pop("released", None))
    return TestedModel(method, json.dumps(own, sort_keys=True), released, OWN_RULE)


def precision_of(model: Path | str, *, stored: bool) -> str:
    """Describe the precision that a model is run in.

    Args:
        model: Folder of a model of any format, or name of a method without training.
        stored: Whether a store of features is used, which methods without training do not read.

    Raises:
        FcpError: damaged settings.
    """
    return STORED_PRECISION if stored and format_of(model) != FREE_FORMAT else PRECISION


def _released(builder: Callable[..., Any], given: bool | None) -> str:
    """Say whether a method follows its authors' program, by its option or the option's default."""
    load = builder.load() if isinstance(builder, LazyBuilder) else builder
    switch = inspect.signature(load).parameters.get("released")
    if switch is None:
        return NO_SWITCH
    return "yes" if (switch.default if given is None else given) else "no"


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
    kind = format_of(model)
    if kind == FREE_FORMAT:
        method = load_free(model, device).method.to(device)
        return MethodPredictor(method, image_size=method.image_size, device=device)
    if kind == TRAINED_FORMAT:
        return _open_trained(Path(model), device, store)
    return load_predictor(Path(model), device=device, store=store, fusion=fusion)


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
    encoders = open_encoders(encoders_of(loaded), store)
    return MethodPredictor(loaded.model, image_size=loaded.image_size, encoders=encoders)


def libraries() -> str:
    """Return the versions of the libraries that numbers depend on."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)
