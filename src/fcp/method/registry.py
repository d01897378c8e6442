"""The methods without training by name, and how one is loaded from published encoders.

Importing this module is light: weights that are missing are told before torch is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fcp.checks import check_options, option_names
from fcp.encoders.places import find_folder
from fcp.errors import FcpError
from fcp.method.names import FreeName, parse_name

if TYPE_CHECKING:
    from fcp.encoders.base import Backbone, PromptableSegmenter
    from fcp.encoders.cells import CellEncoder
    from fcp.method.free import FreeMethod


@dataclass(frozen=True)
class Builder:
    """How a method is put together.

    Attributes:
        module: Dotted path of the module with its class, imported when it is built.
        name: Name of the class; its encoders come by position, its options by name.
        image_size: Side of its cell encoder's pictures, px; None of a method without one.
        final_norm: Whether the cells are those after the encoder's final norm.
        has_segmenter: Whether it prompts a segmenter.
        fixed: Options that make this method of its class.
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
            cells: Encoder of cells; None of a method without one.
            segmenter: Promptable segmenter; None of a method without one.
            options: Options of its class.

        Raises:
            FcpError: an option that it does not have, or a value that it does not take.
        """
        make = self.load()
        check_options(options, make, self.fixed)
        parts = [part for part in (cells, segmenter) if part is not None]
        return make(*parts, **self.fixed, **options).eval()

    def options(self) -> list[str]:
        """Return the names of the options that are left to choose."""
        return option_names(self.load(), self.fixed)

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
    "contrast": Builder("fcp.method.contrast.model", "Contrast", 518, True, True),
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


def find_method(method: str) -> Builder:
    """Return the builder of a method, a value of ``METHODS``.

    Raises:
        FcpError: an unknown method.
    """
    if method not in METHODS:
        raise FcpError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    return METHODS[method]


def build_on(
    method: str,
    backbone: Backbone | None,
    segmenter: PromptableSegmenter | None,
    *,
    image_size: int,
    **options: Any,  # noqa: ANN401  (of any method)
) -> FreeMethod:
    """Build a method on our own encoders, whose pictures it sees at their size.

    Args:
        method: Name of the method, a key of ``METHODS``.
        backbone: Backbone whose mid-level map is compared; not used by a method without cells.
        segmenter: Promptable segmenter; not used by a method without one.
        image_size: Side of the square pictures, px.
        **options: Options of the method; a frame of its own is ``image_size`` unless it is given.

    Raises:
        FcpError: an unknown method, or an option that it does not have.
    """
    from fcp.encoders.cells import BackboneCells

    builder = find_method(method)
    cells = None
    if builder.image_size is not None and backbone is not None:
        cells = BackboneCells(backbone, image_size=image_size)
    frame = {"size": image_size} if "size" in builder.options() else {}
    prompted = segmenter if builder.has_segmenter else None
    try:
        return builder(cells, prompted, **{**frame, **options})
    except FcpError as error:
        raise FcpError(f"method {method!r}: {error}") from error
