"""The methods without training by name, and how one is loaded from published encoders.

Importing this module is light: weights that are missing are told before torch is loaded.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fcp.encoders.places import find_folder
from fcp.errors import FcpError
from fcp.method.names import FreeName, parse_name

if TYPE_CHECKING:
    from fcp.encoders.base import PromptableSegmenter
    from fcp.encoders.cells import CellEncoder
    from fcp.method.free import FreeMethod


@dataclass(frozen=True)
class Builder:
    """How a method is put together.

    Attributes:
        module: dotted path of the module that holds its class, imported when it is built.
        name: Name of the class; its encoders come by position, its options by name.
        image_size: side (px) of its cell encoder's pictures; None of a method without one.
        final_norm: cells after the encoder's final norm.
        has_segmenter: Whether it prompts a segmenter.
        fixed: options that make this method of its class.
    """

    module: str
    name: str
    image_size: int | None
    final_norm: bool
    has_segmenter: bool
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        cells: CellEncoder | None,
        segmenter: PromptableSegmenter | None,
        **options: Any,  # noqa: ANN401  (of any method)
    ) -> FreeMethod:
        """Build the method.

        Args:
            cells: its encoder; None of a method without one.
            segmenter: its promptable segmenter; None of a method without one.
            options: Options of its class.

        Raises:
            FcpError: an option that it does not have, or a value that it does not take.
        """
        make = self.load()
        known = [
            name
            for name, parameter in inspect.signature(make).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and name not in self.fixed
        ]
        for name in options:
            if name not in known:
                raise FcpError(f"unknown option {name!r}; known: {', '.join(known)}")
        parts = [part for part in (cells, segmenter) if part is not None]
        return make(*parts, **self.fixed, **options).eval()

    def load(self) -> Callable[..., FreeMethod]:
        """Import the method's class and return it."""
        found: Callable[..., FreeMethod] = getattr(importlib.import_module(self.module), self.name)
        return found


_PERSAM = "fcp.method.persam.model", "PerSam", None, False, True
METHODS: dict[str, Builder] = {
    "insid3": Builder("fcp.method.insid3.model", "Insid3", 1024, True, False),
    "gf-sam": Builder("fcp.method.gf_sam.model", "GfSam", 518, False, True),
    "persam": Builder(*_PERSAM, fixed={"finetune": False}),
    "persam-f": Builder(*_PERSAM, fixed={"finetune": True}),
    "matcher": Builder("fcp.method.matcher.model", "Matcher", 518, False, True),
}


def load_method(name: str | FreeName, **options: Any) -> FreeMethod:  # noqa: ANN401
    """Load a method and its published encoders.

    Args:
        name: Name as ``names.parse_name`` reads it.
        options: Options of the method, such as ``released`` or ``shots``.

    Raises:
        FcpError: an unknown name or option, or weights that are missing or do not fit.
    """
    found = parse_name(name) if isinstance(name, str) else name
    builder = METHODS[found.method]
    places = {part: find_folder(part) for part in (found.backbone, found.segmenter) if part}
    from fcp.encoders.cells import build_cells
    from fcp.encoders.published import load_segmenter

    cells, segmenter = None, None
    if found.backbone is not None and builder.image_size is not None:
        place = str(places[found.backbone])
        cells = build_cells(place, image_size=builder.image_size, final_norm=builder.final_norm)
    if found.segmenter is not None:
        segmenter = load_segmenter(str(places[found.segmenter]))
    return builder(cells, segmenter, **options)
