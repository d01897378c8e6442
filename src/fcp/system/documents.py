"""Text, JSON and YAML files → plain values; any fault is an error of one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import yaml

from fcp.errors import FcpError

LONGEST = 1_000_000  # characters of a YAML file, of which PyYAML reads some 100,000 a second
DEEPEST = 100  # levels of a YAML file: PyYAML's time grows with their square
MOST_VALUES = 1_000_000  # of a YAML file, where each alias counts as all values that it stands for
# PyYAML's errors on a scalar that is invalid for its type, such as the 99th of a month.
_NO_SCALAR = (ValueError, AttributeError, IndexError, KeyError, TypeError, OverflowError)


def load_yaml(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a YAML mapping and apply ``key.sub=value`` overrides (values are parsed as YAML).

    Raises:
        FcpError: the file is missing, no YAML, nested too deep, made to fill the memory, or no
            mapping; or an override is not ``key=value``.
    """
    values = _parse_yaml(read_text(path), str(path))
    if not isinstance(values, dict):
        raise FcpError(f"{path}: expected a mapping of settings")
    apply_overrides(values, overrides)
    return values


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Set values by ``key.sub=value`` (values are parsed as YAML), and return them.

    Raises:
        FcpError: an override is not ``key=value``.
    """
    for override in overrides:
        _apply_override(values, override)
    return values


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; see ``read_json``.

    Raises:
        FcpError: it cannot be read, or is no object.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise FcpError(f"{path}: expected a JSON object")
    return values


def read_json(path: Path, *, finite: bool = True) -> Any:  # noqa: ANN401  (any JSON value)
    """Read a JSON file: UTF-8, with or without a byte-order mark.

    Args:
        path: Path of the file.
        finite: Whether ``NaN`` and ``Infinity``, which are not JSON but which Python writes, are
            refused.

    Raises:
        FcpError: the file is missing, not UTF-8, no JSON, or nested too deep.
    """
    return parse_json(read_text(path), str(path), finite=finite)


def parse_json(text: str, where: str, *, finite: bool = True) -> Any:  # noqa: ANN401  (as above)
    """Parse JSON text.

    Args:
        text: Text to parse.
        where: Name of the text in an error.
        finite: Whether ``NaN`` and ``Infinity`` are refused, see ``read_json``.

    Raises:
        FcpError: no JSON, or nested too deep.
    """
    constant = _refuse_constant if finite else float
    try:
        return json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise FcpError(f"{where}: not valid JSON ({reason})") from error


def read_text(path: Path) -> str:
    """Read UTF-8 text, with or without a byte-order mark.

    Raises:
        FcpError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FcpError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise FcpError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise FcpError(f"{override!r}: expected key=value, such as head.tokens=10")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise FcpError(
                f"{override!r}: {parent!r} is a single value and has no settings below it"
            )
    values[last] = _parse_yaml(text, repr(override))


class _Loader(yaml.SafeLoader):
    """A loader that reads ``1e-4`` as a number, as YAML 1.2 does, and refuses excessive documents.

    PyYAML alone reads ``1e-4`` as a string. Excessive are nesting, or aliases, that would take
    minutes or fill the memory.
    """

    def fetch_more_tokens(self) -> None:
        """Read more tokens, unless the nesting is too deep by now."""
        if self.flow_level + len(self.indents) > DEEPEST:
            raise yaml.YAMLError("nested too deep")
        super().fetch_more_tokens()

    def get_single_node(self) -> yaml.Node | None:
        """Compose the tree, and count its values before it is traversed."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _count_values(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for over {MOST_VALUES:,} values")
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _count_values(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Count the values in a node, those behind aliases each time.

    Args:
        node: Node to traverse.
        known: Counts by node; a node that contains itself counts as too many.
    """
    if node not in known:
        known[node] = MOST_VALUES + 1
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for one in inside for part in (one if isinstance(one, tuple) else (one,))]
        known[node] = 1 + sum(_count_values(part, known) for part in parts)
    return known[node]


def _parse_yaml(text: str, where: str) -> Any:  # noqa: ANN401  (any YAML value)
    if len(text) > LONGEST:
        raise FcpError(f"{where}: over {LONGEST:,} characters; expected settings or class names")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        raise FcpError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from error
    except _NO_SCALAR as error:
        raise FcpError(f"{where}: not valid YAML (an invalid value: {error})") from error
