"""Plain values ↔ typed dataclasses, and checks of settings. Standard library only."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache
from math import isfinite
from numbers import Integral
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from fcp.errors import FcpError

MOST = 1 << 63  # an integer in a file that is as large as this is a mistake
LARGEST_SEED = (1 << 31) - 1
LONGEST_SHOWN = 200  # characters of a value, in an error
_NAMES = {type(None): "null", Mapping: "mapping", Sequence: "list"}  # as YAML calls them

ConfigT = TypeVar("ConfigT")


def from_dict(cls: type[ConfigT], values: Mapping[str, Any], where: str = "config") -> ConfigT:
    """Build a (nested) configuration from plain values, checking every name and type.

    Args:
        cls: One of the frozen dataclasses of ``fcp.config`` or ``fcp.engine``, or a record of a
            file; its fields may be lists and mappings of others.
        values: Plain mapping, as YAML or JSON gives it.
        where: Name of the mapping in an error: a file's name, or a dotted path.

    Raises:
        FcpError: an unknown or missing key, or a value of the wrong type or range.
    """
    if not isinstance(values, Mapping):
        raise FcpError(f"{where}: expected a mapping of settings, got {_short(values)}")
    fields = _fields(cls)  # type: ignore[arg-type]  # for mypy a class is no Hashable
    unknown = sorted(set(values) - set(fields), key=str)
    if unknown:
        raise FcpError(
            f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(fields))}"
        )
    missing = [name for name, (_, needed) in fields.items() if needed and name not in values]
    if missing:
        raise FcpError(f"{where}: no {missing[0]}; it must be there")
    arguments = {
        name: _nested(fields[name][0], value, f"{where}.{name}") for name, value in values.items()
    }
    try:
        for name, value in arguments.items():
            _check_value(fields[name][0], value, name)
        return cls(**arguments)
    except FcpError as error:
        raise FcpError(f"{where}: {error}") from error


def _nested(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401  (any annotation, any value)
    """Build the dataclasses that an annotation names, in lists and mappings too."""
    if value is None and not dataclasses.is_dataclass(hint):
        return None
    hint = _union_members(hint)[0]  # X of X | None
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    origin, inside = get_origin(hint), get_args(hint)
    if origin is list and isinstance(value, list):
        return [_nested(inside[0], one, f"{where}[{index}]") for index, one in enumerate(value)]
    if value is False and "no" in inside:
        return "no"  # which YAML reads as false where it has no quotation marks
    if origin is dict and isinstance(value, dict):
        return {name: _nested(inside[1], one, f"{where}.{name}") for name, one in value.items()}
    return value


def to_dict(config: Any) -> dict[str, Any]:  # noqa: ANN401  (any dataclass)
    """Return the configuration as nested plain values; ``from_dict`` is its inverse."""
    return dataclasses.asdict(config)


def require(holds: bool, name: str, expected: str, got: object) -> None:
    """Raise an ``FcpError`` that names the setting, unless the condition holds."""
    if not holds:
        raise FcpError(f"{name}: expected {expected}, got {_short(got)}")


def _short(value: object) -> str:
    """Return a value of a file as text of bounded length."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def check(config: Any) -> None:  # noqa: ANN401  (any dataclass)
    """Check each field against its annotation.

    Supported are plain types, unions with None, Literals, and lists and mappings of these; numbers
    must be finite.
    """
    for name, (hint, _) in _fields(type(config)).items():  # type: ignore[arg-type]
        _check_value(hint, getattr(config, name), name)


def require_least(config: Any, least: int, *names: str) -> None:  # noqa: ANN401  (any dataclass)
    """Refuse a setting below a number; None is no setting.

    Raises:
        FcpError: the message names the setting.
    """
    for name in names:
        value = getattr(config, name)
        require(value is None or value >= least, name, f"at least {least}", value)


def require_count(name: str, value: object) -> None:
    """Refuse what is no whole number of at least 1."""
    fits = isinstance(value, Integral) and int(value) >= 1
    require(fits, name, "at least 1, a whole number", value)


def require_seed(seed: int) -> None:
    """Refuse a seed that numpy would not take (2³² or more) once steps and processes are added.

    Raises:
        FcpError: the message names the setting.
    """
    require(0 <= seed <= LARGEST_SEED, "seed", f"0 … {LARGEST_SEED}", seed)


def option_names(function: Callable[..., Any], fixed: Container[str] = ()) -> list[str]:
    """Return the names of a function's options: its keyword-only parameters but the fixed ones."""
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in fixed
    ]


def check_options(
    options: Mapping[str, Any], function: Callable[..., Any], fixed: Container[str] = ()
) -> None:
    """Check options by name and annotation, before a function is called with them.

    Args:
        options: Name → value.
        function: Function or class; one that takes any keyword argument is not checked.
        fixed: Names of keyword-only parameters that are no options.

    Raises:
        FcpError: an unknown name, or a value of the wrong type.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = option_names(function, fixed)
    for name, value in options.items():
        if name not in known:
            raise FcpError(f"unknown option {name!r}; known: {', '.join(known) or 'none'}")
        hint = parameters[name].annotation
        _check_value(Any if hint is inspect.Parameter.empty else hint, value, name)


@cache
def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """Return each field's annotation, and whether it must be given."""
    hints = get_type_hints(cls)
    return {
        one.name: (
            hints[one.name],
            one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
        )
        for one in dataclasses.fields(cls)
    }


def _check_value(hint: Any, value: Any, name: str) -> None:  # noqa: ANN401  (any of both)
    if hint is Any:
        return
    options = get_args(hint)
    if options and all(isinstance(option, str) for option in options):
        require(value in options, name, f"one of {', '.join(options)}", value)
        return
    members = _union_members(hint)
    kinds = tuple(get_origin(kind) or kind for kind in members)
    numeric = float in kinds and type(value) is int
    # A truth value is an int to Python, and a text a sequence.
    strange = any(isinstance(value, kind) and kind not in kinds for kind in (bool, str))
    names = " or ".join(_NAMES.get(kind, kind.__name__) for kind in kinds)
    require(not strange and (numeric or isinstance(value, kinds)), name, names, value)
    if isinstance(value, int | float):
        finite = isfinite(value) if isinstance(value, float) else abs(value) < MOST
        require(finite, name, "a finite number", value)
    nested = (kind for kind in members if get_origin(kind) is not None)
    inside = next((get_args(kind) for kind in nested if isinstance(value, get_origin(kind))), ())
    if isinstance(value, list | tuple) and inside:
        for index, one in enumerate(value):
            _check_value(inside[0], one, f"{name}[{index}]")
    if isinstance(value, dict) and inside:
        for key, one in value.items():
            _check_value(inside[0], key, f"key of {name}")
            _check_value(inside[1], one, f"{name}.{key}")


def _union_members(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401  (any annotation)
    is_union = not hasattr(hint, "__origin__") and get_args(hint)
    return get_args(hint) if is_union else (hint,)
