"""Supports of any network ↔ plain JSON values and named tensors. No code is stored, none is run.

A dataclass is stored by its key in ``TYPES`` and its fields, so that a file can make no other
object. Tensors are stored apart, by dotted names.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from fcp.errors import FcpError

# Key in a file → class; each module is loaded when such a support is read.
TYPES = {
    "fcp": "fcp.structures:SupportSet",
    "fcp.correlation": "fcp.structures:CorrelationSupport",
    "fcp.contrast-mask": "fcp.structures:ContrastSupport",
    "free": "fcp.method.free:FreeSupport",
    "trained": "fcp.inference.networks.trained:TrainedSupport",
    "bam": "fcp.method.bam.model:BAMSupport",
    "cyctr": "fcp.method.cyctr.model:CyCTRSupport",
    "hdmnet": "fcp.method.hdmnet.model:HDMNetSupport",
    "pfenet": "fcp.method.pfenet.model:PFENetSupport",
    "ssp": "fcp.method.ssp.model:SSPSupport",
}
_KEYS = {path: key for key, path in TYPES.items()}


def tensors_of(value: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a support with their dotted names.

    Args:
        value: Support, or a part of one.
        name: Name of the value itself.
    """
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            yield from tensors_of(one, f"{name}.{index}")
    elif is_dataclass(value):
        for one in fields(value):
            yield from tensors_of(getattr(value, one.name), f"{name}.{one.name}")


def pack(value: object, name: str) -> Any:  # noqa: ANN401  (any JSON value)
    """Return a support as plain values; its tensors are those of ``tensors_of``.

    Args:
        value: Dataclass of ``TYPES``, tuple, tensor, text, number or None.
        name: Name of the value, with which its tensors' names begin.

    Raises:
        TypeError: a value that cannot be stored.
    """
    if isinstance(value, Tensor):
        return {"tensor": name}
    if isinstance(value, tuple):
        return [pack(one, f"{name}.{index}") for index, one in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = type(value)
    key = _KEYS.get(f"{kind.__module__}:{kind.__qualname__}")
    if key is None or not is_dataclass(value):
        raise TypeError(f"{name}: {kind.__qualname__} is no part of a support")
    parts = {one.name: getattr(value, one.name) for one in fields(value)}
    return {"type": key, "fields": {n: pack(part, f"{name}.{n}") for n, part in parts.items()}}


def unpack(plain: object, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401  (any support)
    """Build a support from what ``pack`` returned.

    Fields that a file of an older version lacks take their defaults.

    Args:
        plain: Plain values.
        tensors: Tensors by name.

    Raises:
        FcpError: they are no support.
        KeyError: a tensor is missing.
    """
    if isinstance(plain, list):
        return tuple(unpack(one, tensors) for one in plain)
    if not isinstance(plain, dict):
        return plain
    if plain.keys() == {"tensor"} and isinstance(plain["tensor"], str):
        return tensors[plain["tensor"]]
    key, parts = plain.get("type"), plain.get("fields")
    if plain.keys() != {"type", "fields"} or key not in TYPES or not isinstance(parts, dict):
        raise FcpError("holds a part of an unknown kind")
    module, _, name = TYPES[key].partition(":")
    kind = getattr(importlib.import_module(module), name)
    hints = get_type_hints(kind)
    needed = (one.name for one in fields(kind) if one.default is MISSING)
    missing = next((name for name in needed if name not in parts), None)
    if missing is not None:
        raise FcpError(f"{key}.{missing} is missing")
    values = {name: unpack(part, tensors) for name, part in parts.items()}
    for name, value in values.items():
        if name not in hints or not _fits(value, hints[name]):
            raise FcpError(f"{key}.{name} is of a wrong kind")
    return kind(**values)


def unpack_oldest(names: Collection[str], entrant: int, fusion: str) -> dict[str, Any]:
    """Return the plain values of an FCP support of the first format, whose names tell all.

    Args:
        names: Names of the file's tensors.
        entrant: Number of the class, with which its tensors' names begin.
        fusion: Rule by which its examples become one answer.
    """
    own = _fields_of(names, f"{entrant}.")
    correlation = _fields_of(names, f"{entrant}.correlation.")
    if correlation:
        own["correlation"] = {"type": "fcp.correlation", "fields": correlation}
    return {"type": "fcp", "fields": own | {"fusion": fusion}}


def _fields_of(names: Collection[str], prefix: str) -> dict[str, Any]:
    """Return the tensors and tuples of tensors right below a prefix."""
    own = [name.removeprefix(prefix).split(".") for name in names if name.startswith(prefix)]
    single = {path[0]: {"tensor": prefix + path[0]} for path in own if len(path) == 1}
    counts = Counter(path[0] for path in own if len(path) == 2 and path[1].isdecimal())
    several = {
        name: [{"tensor": f"{prefix}{name}.{index}"} for index in range(count)]
        for name, count in counts.items()
    }
    return single | several


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401  (any annotation)
    """Return whether a value is of an annotation's kind."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inside)
    if origin is Literal:
        return value in inside
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = inside[:1] * len(value) if inside[-1] is Ellipsis else inside
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    return hint is Any or type(value) is hint
