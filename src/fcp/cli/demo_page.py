"""The demo's page and strip, made of what each scene gave."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from fcp.prediction import Prediction

COLUMNS = ("example", "photo", "similarity", "attention", "result")
THUMBNAIL = 480


@dataclass(frozen=True)
class SceneResult:
    """A scene and its answer.

    Attributes:
        title: what is to be found.
        note: what the reader should know, in a sentence.
        in_strip: whether the strip shows it.
        examples: (picture (H, W, 3) uint8, mask (H, W) bool) pairs.
        query: (H, W, 3) uint8.
        prediction: for the query.
        seconds: that ``predict`` took.
    """

    title: str
    note: str
    in_strip: bool
    examples: list[tuple[np.ndarray, np.ndarray]]
    query: np.ndarray
    prediction: Prediction
    seconds: float

    def pictures(self) -> list[list[np.ndarray]]:
        """Return what each column shows, one or more pictures (H, W, 3) uint8."""
        from fcp.visualize import heatmap, overlay

        found = self.prediction
        return [
            [overlay(picture, mask, colour=(30, 120, 230)) for picture, mask in self.examples],
            [self.query],
            [heatmap(found.conventional_mask, self.query)],
            [heatmap(found.pseudo_mask, self.query)],
            [overlay(self.query, found.mask)],
        ]


def make_page(
    template: str,
    results: Sequence[SceneResult],
    *,
    model: str,
    device: str,
    credits: Sequence[str],
) -> str:
    """Fill the page's template; all pictures are inside the text."""
    return Template(template).substitute(
        model=html.escape(model),
        device=html.escape(device),
        scenes="\n".join(_section(result) for result in results),
        credits=html.escape("; ".join(dict.fromkeys(credits))),
    )


def make_strip(results: Sequence[SceneResult]) -> bytes:
    """Return a PNG with a row for each scene meant for it; the first example stands for all."""
    from fcp.visualize import contact_sheet, encode

    rows = [[column[0] for column in r.pictures()] for r in results if r.in_strip]
    return encode(contact_sheet(rows, COLUMNS), "png")


def _section(result: SceneResult) -> str:
    captions = [
        "example" if len(result.examples) == 1 else f"{len(result.examples)} examples",
        *COLUMNS[1:-1],
        f"result: score {result.prediction.score:.2f}, {result.seconds:.2f} s",
    ]
    figures = "\n".join(
        f"<figure>{''.join(map(_image, pictures))}<figcaption>{caption}</figcaption></figure>"
        for pictures, caption in zip(result.pictures(), captions, strict=True)
    )
    title, note = html.escape(result.title), html.escape(result.note)
    return (
        f'<section>\n<h2>{title}</h2>\n<p class="note">{note}</p>\n'
        f'<div class="row">\n{figures}\n</div>\n</section>'
    )


def _image(picture: np.ndarray) -> str:
    from fcp.visualize import encode, thumbnail

    data = base64.b64encode(encode(thumbnail(picture, THUMBNAIL), "jpeg")).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="">'
