"""The compared methods that are trained on episodes, by name, and their published checkpoints."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fcp.checks import check_options, require
from fcp.encoders import LazyBuilder
from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.errors import FcpError
from fcp.method.base import TrainedMethod
from fcp.method.published import Published, renamed

AnyMethod = TrainedMethod[Any, Any, Any]

# Name → builder, called as ``builder(backbone_weights, **options)``.
TRAINED: dict[str, Callable[..., AnyMethod]] = {
    name: LazyBuilder(f"fcp.method.{name}.model", f"build_{name}")
    for name in ("ssp", "pfenet", "bam", "hdmnet", "cyctr")
}
TRAINS_BACKBONE = frozenset({"ssp"})  # methods that have no trainable weights but the backbone's


@dataclass(frozen=True)
class Imported:
    """A checkpoint of a method's own program, read.

    Attributes:
        model: The method with its weights, in evaluation mode.
        options: Those of the builder that make the same model again.
        unused: Tensors of the file that the program itself never reads.
    """

    model: AnyMethod
    options: dict[str, Any]
    unused: tuple[str, ...]


def find_builder(method: str) -> Callable[..., AnyMethod]:
    """Return the builder of a method, a value of ``TRAINED``.

    Raises:
        FcpError: Unknown method.
    """
    if method not in TRAINED:
        raise FcpError(f"method: expected one of {', '.join(TRAINED)}, got {method!r}")
    return TRAINED[method]


def takes_base_learner(method: str) -> bool:
    """Return whether a method's builder has the options that a base learner decides.

    Raises:
        FcpError: Unknown method.
    """
    builder = find_builder(method)
    build = builder.load() if isinstance(builder, LazyBuilder) else builder
    try:
        check_options({"base_classes": 1}, build)
    except FcpError:
        return False
    return True


def build_trained(method: str, weights: str | None = None, **options: Any) -> AnyMethod:  # noqa: ANN401  (each method's own)
    """Build a method, by default at its published size.

    Args:
        method: Key of ``TRAINED``.
        weights: ImageNet weights of its backbone; None for random ones.
        **options: Of the method's builder.

    Raises:
        FcpError: Unknown method or option, an option of the wrong type or below 1, or weights that
            are missing or do not fit.
    """
    builder = find_builder(method)
    try:
        for name, value in options.items():  # each whole number is a count
            require(type(value) is not int or value >= 1, name, "at least 1", value)
        model: AnyMethod = builder(weights, **options)
    except FcpError as error:
        raise FcpError(f"method {method!r}: {error}") from error
    except Exception as error:  # what torch raises on sizes that do not fit together
        raise FcpError(
            f"method {method!r}: cannot be built with these options ({error})"
        ) from error
    return model


def import_checkpoint(method: str, path: Path, **options: Any) -> Imported:  # noqa: ANN401  (each method's own)
    """Read a checkpoint of a method's own program; its weights replace the backbone's too.

    Args:
        method: Key of ``TRAINED``.
        path: State dict as the program writes it: bare or under ``state_dict``, with or without
            the prefix ``module.``.
        **options: Of the method's builder, where the file does not tell them: ``bins`` of PFENet.
            ``released`` is True unless it is given: what the program does by accident is kept.

    Raises:
        FcpError: Unknown method, one without published checkpoints, a damaged file, or entries that
            do not fit; names the first ones.
    """
    find_builder(method)
    name = f"fcp.method.{method}.published"
    if find_spec(f"fcp.method.{method}") is None or find_spec(name) is None:
        raise FcpError(f"method {method!r}: no published checkpoints of it are known")
    published: Published = importlib.import_module(name).PUBLISHED
    state = read_state_dict(path)
    found = {**published.options_of(state), **options}
    ours, unused = renamed(state, published)
    model = build_trained(method, **found)
    load_strictly(model, ours, path)
    return Imported(model.eval(), found, unused)
