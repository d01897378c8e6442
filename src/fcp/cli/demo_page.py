"""The demo's page and strip, made of what each scene gave."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from fcp.inference.prediction import Prediction

COLUMNS = ("example", "photo", "similarity", "attention", "result")
THUMBNAIL = 480
FAILURE = 0.5  # IoU below which a result is called one


@dataclass(frozen=True)
class SceneResult:
    """A scene and its answer.

    Attributes:
        title: what is to be found.
        group: key of the group of scenes that it belongs to.
        note: what the reader should know, in a sentence.
        in_strip: whether the strip shows it.
        examples: (picture (H, W, 3) uint8, mask (H, W) bool) pairs.
        query: (H, W, 3) uint8.
        truth: (H, W) bool mask of the query drawn by us, or None.
        prediction: for the query.
        seconds: that ``predict`` took.
    """

    title: str
    group: str
    note: str
    in_strip: bool
    examples: list[tuple[np.ndarray, np.ndarray]]
    query: np.ndarray
    truth: np.ndarray | None
    prediction: Prediction
    seconds: float

    @property
    def iou(self) -> float | None:
        """IoU of the result with our mask, 0 … 1."""
        if self.truth is None:
            return None
        found = self.prediction.mask
        return float((found & self.truth).sum() / (found | self.truth).sum())

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


@dataclass(frozen=True)
class SceneGroup:
    """Scenes that stand together on the page.

    Attributes:
        title: what they have in common.
        note: what the reader should know of them.
        results: of the scenes.
    """

    title: str
    note: str
    results: list[SceneResult]


def group_scenes(
    groups: Mapping[str, Mapping[str, str]], results: Sequence[SceneResult]
) -> list[SceneGroup]:
    """Put scenes into their groups: key → title and note, in this order."""
    return [
        SceneGroup(**texts, results=[result for result in results if result.group == key])
        for key, texts in groups.items()
    ]


def make_page(template: str, groups: Sequence[SceneGroup], facts: Mapping[str, str]) -> str:
    """Fill the page's template; all pictures are inside the text.

    Args:
        template: with ``$scenes`` and the facts' names.
        groups: of scenes.
        facts: name → text.
    """
    scenes = "\n".join(part for group in groups for part in _parts(group))
    return Template(template).substitute(
        {name: html.escape(text) for name, text in facts.items()}, scenes=scenes
    )


def make_strip(results: Sequence[SceneResult]) -> bytes:
    """Return a PNG with a row for each scene meant for it; the first example stands for all."""
    from fcp.visualize import contact_sheet, encode

    rows = [[column[0] for column in r.pictures()] for r in results if r.in_strip]
    return encode(contact_sheet(rows, COLUMNS), "png")


def _parts(group: SceneGroup) -> list[str]:
    title, note = html.escape(group.title), html.escape(group.note)
    heading = f'<h2>{title}</h2>\n<p class="note">{note}</p>'
    return [heading, *(_section(result) for result in group.results)]


def verdict(result: SceneResult) -> str:
    """Say how good a result is, a failure too."""
    if result.iou is None:
        return ""
    failure = "" if result.iou >= FAILURE else ": <b>a failure</b>"
    return f", {100 * result.iou:.0f} % IoU with our mask{failure}"


def _section(result: SceneResult) -> str:
    captions = [
        "example" if len(result.examples) == 1 else f"{len(result.examples)} examples",
        *COLUMNS[1:-1],
        f"result: score {result.prediction.score:.2f}, {result.seconds:.2f} s{verdict(result)}",
    ]
    figures = "\n".join(
        f"<figure>{''.join(map(_image, pictures))}<figcaption>{caption}</figcaption></figure>"
        for pictures, caption in zip(result.pictures(), captions, strict=True)
    )
    title, note = html.escape(result.title), html.escape(result.note)
    return (
        f'<section>\n<h3>{title}</h3>\n<p class="note">{note}</p>\n'
        f'<div class="row">\n{figures}\n</div>\n</section>'
    )


def _image(picture: np.ndarray) -> str:
    from fcp.visualize import encode, thumbnail

    data = base64.b64encode(encode(thumbnail(picture, THUMBNAIL), "jpeg")).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="">'
