"""Options are checked by the names and annotations of what takes them, before it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from fcp.checks import check_options, option_names
from fcp.encoders import BACKBONES, SEGMENTERS, LazyBuilder
from fcp.errors import FcpError
from fcp.method.registry import METHODS, Builder
from fcp.method.trained import TRAINED


def build(
    weights: str | None,
    *,
    size: int = 1,
    rate: float = 0.5,
    released: bool = False,
    layers: Sequence[int] | None = None,
    names: Sequence[str] = (),
    backbone: str | Mapping[str, Any] = "resnet50",
    shots: Literal["paper", "pooled"] = "paper",
    free=None,
):
    raise AssertionError("checks do not call")


class Built:
    def __init__(self, part: object, *, finetune: bool, size: int = 3) -> None:
        raise AssertionError("checks do not call")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": 0, "rate": 1, "released": True},
        {"rate": 0.25, "layers": None},
        {"layers": [1, 2], "names": ("a", "b")},
        {"backbone": {"name": "resnet50"}, "shots": "pooled"},
        {"free": object()},
    ],
)
def test_what_fits_is_accepted(options):
    check_options(options, build)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sizes": 1}, "unknown option 'sizes'; known: size, rate, released, layers"),
        ({"weights": "a"}, "unknown option 'weights'"),
        ({"size": "a"}, "size: expected int, got 'a'"),
        ({"size": True}, "size: expected int, got True"),
        ({"size": 1.5}, "size: expected int, got 1.5"),
        ({"size": 1 << 70}, "size: expected a finite number"),
        ({"rate": float("nan")}, "rate: expected a finite number"),
        ({"released": "no"}, "released: expected bool, got 'no'"),
        ({"released": 1}, "released: expected bool, got 1"),
        ({"layers": "12"}, "layers: expected list or null, got '12'"),
        ({"layers": 3}, "layers: expected list or null, got 3"),
        ({"layers": [1, "2"]}, r"layers\[1\]: expected int, got '2'"),
        ({"names": ("a", 3)}, r"names\[1\]: expected str, got 3"),
        ({"names": "layer2"}, "names: expected list, got 'layer2'"),
        ({"backbone": 50}, "backbone: expected str or mapping, got 50"),
        ({"shots": "mean"}, "shots: expected one of paper, pooled, got 'mean'"),
    ],
)
def test_what_does_not_fit_is_named(options, told):
    with pytest.raises(FcpError, match=told):
        check_options(options, build)


def test_a_class_and_its_fixed_options():
    assert option_names(Built, {"finetune": True}) == ["size"]
    check_options({"size": 4}, Built, {"finetune": True})
    with pytest.raises(FcpError, match="unknown option 'finetune'; known: size"):
        check_options({"finetune": False}, Built, {"finetune": True})
    with pytest.raises(FcpError, match="unknown option 'a'; known: none"):
        check_options({"a": 1}, lambda weights: None)


def test_a_function_that_takes_anything_is_not_checked():
    check_options({"a": 1}, lambda weights, **options: None)


@pytest.mark.parametrize("registry", [BACKBONES, SEGMENTERS, TRAINED, METHODS])
def test_every_option_of_every_builder_has_a_type_that_is_checked(registry):
    """Of those that come with the package; other tests register functions of their own."""
    ours = [builder for builder in registry.values() if isinstance(builder, LazyBuilder | Builder)]
    assert len(ours) >= 4
    for builder in ours:
        function = builder.load()
        for option in option_names(function):
            with pytest.raises(FcpError, match=f"^{option}: expected"):
                check_options({option: object()}, function)
        with pytest.raises(FcpError, match="unknown option 'nonsense'"):
            check_options({"nonsense": 1}, function)
