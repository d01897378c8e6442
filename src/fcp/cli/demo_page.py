"""The page and the strip of the demo, made from the results of its scenes."""

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
FAILURE = 0.5  # IoU below which a result is called a failure


@dataclass(frozen=True)
class SceneResult:
    """A scene and its result.

    Attributes:
        title: Name of the object to find.
        group: Key of the scene's group.
        note: Remark for the reader, one sentence.
        in_strip: Whether the strip shows the scene.
        examples: Pairs of picture (H, W, 3) uint8 and mask (H, W) bool.
        query: Query picture, (H, W, 3) uint8.
        truth: Our own mask of the query, (H, W) bool, or None.
        prediction: Prediction for the query.
        seconds: Time of ``predict`` in s.
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
        """Return the pictures of each column, one or more (H, W, 3) uint8."""
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
    """A group of scenes with a common heading on the page.

    Attributes:
        title: Heading of the group.
        note: Remark for the reader.
        results: Results of the scenes.
    """

    title: str
    note: str
    results: list[SceneResult]


def group_scenes(
    groups: Mapping[str, Mapping[str, str]], results: Sequence[SceneResult]
) -> list[SceneGroup]:
    """Group scenes; ``groups`` maps key → title and note, in the order of the page."""
    return [
        SceneGroup(**texts, results=[result for result in results if result.group == key])
        for key, texts in groups.items()
    ]


def make_page(template: str, groups: Sequence[SceneGroup], facts: Mapping[str, str]) -> str:
    """Fill the template of the page; all pictures are embedded.

    Args:
        template: Text with ``$scenes`` and a placeholder for each fact.
        groups: Groups of scenes, in order.
        facts: Placeholder → text.
    """
    scenes = "\n".join(part for group in groups for part in _parts(group))
    return Template(template).substitute(
        {name: html.escape(text) for name, text in facts.items()}, scenes=scenes
    )


def make_strip(results: Sequence[SceneResult]) -> bytes:
    """Return a PNG with a row for each scene with ``in_strip``, with its first example."""
    from fcp.visualize import contact_sheet, encode

    rows = [[column[0] for column in r.pictures()] for r in results if r.in_strip]
    return encode(contact_sheet(rows, COLUMNS), "png")


def _parts(group: SceneGroup) -> list[str]:
    title, note = html.escape(group.title), html.escape(group.note)
    heading = f'<h2>{title}</h2>\n<p class="note">{note}</p>'
    return [heading, *(_section(result) for result in group.results)]


def verdict(result: SceneResult) -> str:
    """Return the IoU of a result as text, with a remark if it is a failure."""
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
