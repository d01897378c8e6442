"""Smart tools: a box or points on the picture to segment → mask of the marked object.

Both prompt the model's promptable segmenter. But a point on an object that the project's examples
find selects that object: `tiny` is much better at examples than at points (docs/label-studio.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fcp.data.pieces import connected_pieces
from fcp.data.prompts import Annotation, Box, Point, Points, annotation_mask
from fcp.errors import FcpError
from fcp.formats.label_studio import is_negative
from fcp.formats.label_studio_shapes import Size
from fcp.formats.run_lengths import to_mask
from fcp.inference.outlines import EncodedPicture, Prompt
from fcp.inference.prediction import ALL
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support
from fcp.label_studio.regions import labels_of, read_region


@dataclass(frozen=True)
class Hint:
    """The marks of an annotator on the picture to segment, in px.

    Attributes:
        label: Label of the object.
        boxes: Boxes around the object.
        points: Points on the object.
        against: Points outside the object.
    """

    label: str
    boxes: tuple[Box, ...] = ()
    points: tuple[Point, ...] = ()
    against: tuple[Point, ...] = ()


def read_hint(context: Mapping[str, Any], size: Size) -> Hint:
    """Read the regions that a smart tool sends; the label of the last one is used.

    Raises:
        FcpError: nothing is marked, or a region is damaged.
    """
    regions = context.get("result")
    listed = [one for one in regions or [] if isinstance(one, Mapping)]
    marked = [(label, region) for region in listed for label in labels_of(region)]
    if not marked:
        raise FcpError("smart tool: expected a labelled box or point, got none")
    label = marked[-1][0]
    boxes: list[Box] = []
    points: list[Point] = []
    against: list[Point] = []
    for region in (region for other, region in marked if other == label):
        drawn = read_region(region, size, "smart tool")
        if isinstance(drawn, Points):
            (against if is_negative(region) else points).extend(drawn.points)
        else:
            area = to_mask(drawn) if isinstance(drawn, Mapping) else drawn
            boxes.append(_around(area, size))
    if not boxes and not points:
        raise FcpError("smart tool: only negative points are marked; mark the object first")
    return Hint(label, tuple(boxes), tuple(points), tuple(against))


def find_hinted(
    segmenter: FewShotSegmenter, picture: np.ndarray, hint: Hint, support: Support | None
) -> np.ndarray:
    """Segment the object that a hint marks.

    Args:
        segmenter: Segmenter to use.
        picture: Picture to segment, (H, W, 3) uint8.
        hint: Marks on the picture.
        support: Encoded examples of the project, or None.

    Returns:
        The mask of the object, (H, W) bool.
    """
    if hint.boxes:
        masks = [_prompted(segmenter, picture, hint, box) for box in hint.boxes]
        joined: np.ndarray = np.logical_or.reduce(masks, axis=0)
        return joined
    if support is not None and hint.label in support.classes and not hint.against:
        found = segmenter.predict(picture, support=support, threshold=0, least=ALL)
        met = _pieces_at(found.classes[hint.label].mask, hint.points)
        if met.any():
            return met
    return _prompted(segmenter, picture, hint, None)


@torch.inference_mode()
def _prompted(
    segmenter: FewShotSegmenter, picture: np.ndarray, hint: Hint, box: Box | None
) -> np.ndarray:
    """Prompt the segmenter with a box, or with the points if there is no box."""
    try:
        encoded = EncodedPicture(segmenter.network, picture)
    except FcpError as error:
        raise FcpError(f"smart tool: {error}, or points on what it has found") from error
    prompt = Prompt(hint.points, hint.against, box)
    if box is None:
        return encoded.to_mask(encoded.draw_points(prompt))
    return encoded.to_mask(encoded.draw(prompt)) & annotation_mask(box, encoded.size)


def _pieces_at(mask: np.ndarray, points: Sequence[Point]) -> np.ndarray:
    """Return the connected pieces of a mask that contain a point."""
    at = np.zeros_like(mask)
    for x, y in points:
        at[int(y), int(x)] = True
    kept = np.zeros_like(mask)
    for piece in connected_pieces(mask):
        x0, y0, x1, y1 = piece.box
        if (at[y0:y1, x0:x1] & piece.mask).any():
            kept[y0:y1, x0:x1] |= piece.mask
    return kept


def _around(area: Annotation, size: Size) -> Box:
    """Return the box around a drawing, clipped to the picture."""
    mask = annotation_mask(area, size, "smart tool")
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        raise FcpError("smart tool: the drawing covers no pixel of the picture")
    return Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
