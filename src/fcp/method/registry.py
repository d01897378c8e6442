"""The methods without training by name, and how one is loaded from published encoders."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any

from fcp.encoders.base import PromptableSegmenter
from fcp.encoders.cells import CellEncoder, build_cells
from fcp.encoders.published import find_folder, load_segmenter
from fcp.errors import FcpError
from fcp.method.free import FreeMethod
from fcp.method.gf_sam.model import GfSam
from fcp.method.insid3.model import Insid3
from fcp.method.matcher.model import Matcher
from fcp.method.names import FreeName, parse_name
from fcp.method.persam.model import PerSam


@dataclass(frozen=True)
class Builder:
    """How a method is put together.

    Attributes:
        make: the method's class; called with its encoders by position and its options by name.
        image_size: side (px) of its cell encoder's pictures; None of a method without one.
        final_norm: cells after the encoder's final norm.
        has_segmenter: it prompts a segmenter.
    """

    make: Any
    image_size: int | None
    final_norm: bool
    has_segmenter: bool

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
            options: of its class.

        Raises:
            FcpError: an option that it does not have, or a value that it does not take.
        """
        known = [
            name
            for name, parameter in inspect.signature(self.make).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        ]
        for name in options:
            if name not in known:
                raise FcpError(f"unknown option {name!r}; known: {', '.join(known)}")
        parts = [part for part in (cells, segmenter) if part is not None]
        method: FreeMethod = self.make(*parts, **options)
        return method.eval()


METHODS: dict[str, Builder] = {
    "insid3": Builder(Insid3, image_size=1024, final_norm=True, has_segmenter=False),
    "gf-sam": Builder(GfSam, image_size=518, final_norm=False, has_segmenter=True),
    "persam": Builder(PerSam, image_size=None, final_norm=False, has_segmenter=True),
    "persam-f": Builder(
        partial(PerSam, finetune=True), image_size=None, final_norm=False, has_segmenter=True
    ),
    "matcher": Builder(Matcher, image_size=518, final_norm=False, has_segmenter=True),
}


def load_method(name: str | FreeName, **options: Any) -> FreeMethod:  # noqa: ANN401
    """Load a method and its published encoders.

    Args:
        name: as ``names.parse_name`` reads it.
        options: of the method, such as ``released`` or ``shots``.

    Raises:
        FcpError: an unknown name or option, or weights that are missing or do not fit.
    """
    found = parse_name(name) if isinstance(name, str) else name
    builder = METHODS[found.method]
    places = [find_folder(part) for part in (found.backbone, found.segmenter) if part is not None]
    cells = None
    if found.backbone is not None and builder.image_size is not None:
        cells = build_cells(
            str(places[0]), image_size=builder.image_size, final_norm=builder.final_norm
        )
    segmenter = None if found.segmenter is None else load_segmenter(str(places[-1]))
    return builder(cells, segmenter, **options)
