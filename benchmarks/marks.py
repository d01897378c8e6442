"""How good are boxes, scribbles and points as examples? On COCO's kinds that VOC lacks.

Queries and examples are those of coco_novel.py, one example each. The example's mask is replaced by
its tight box, by a scribble through its largest piece, by one or three points in the inner half of
that piece, or by one point in each piece of at least a tenth of the mask. "drawn" is the example
with the marks painted alone, "outlined" as ``fit`` takes them; of either the mean IoU with the true
mask of the example, and the mIoU of the queries.

    python benchmarks/marks.py --model small --data-root DIR
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from coco_novel import novel_pictures
from scipy import ndimage

from fcp import FewShotSegmenter
from fcp.data.images import read_image
from fcp.data.pieces import connected_pieces
from fcp.data.prompts import Box, Mark, Points, Scribble, annotation_mask
from fcp.data.regions import tight_box
from fcp.evaluation.metrics import ScoreBoard, count_pixels
from fcp.inference.examples import read_given, with_outlines

CORNERS = 6
LEAST_PIECE = 0.1


def inner_points(
    piece: np.ndarray, count: int, generator: np.random.Generator
) -> list[tuple[float, float]]:
    """Draw points in the inner half of a piece (H, W), those of at least its median depth."""
    depth = ndimage.distance_transform_edt(np.pad(piece, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= np.median(depth[piece]) / 2)
    chosen = generator.integers(len(rows), size=count)
    return [(float(columns[i]) + 0.5, float(rows[i]) + 0.5) for i in chosen]


def along(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Sort points along their longest direction."""
    centred = np.array(points) - np.mean(points, axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    return [points[i] for i in np.argsort(centred @ direction)]


def marks_on(mask: np.ndarray, generator: np.random.Generator) -> dict[str, Mark]:
    """Return name → marks in place of a mask (H, W)."""
    pieces = sorted(connected_pieces(mask), key=lambda piece: -int(piece.mask.sum()))
    largest = pieces[0].full_mask()
    large = [one for one in pieces if one.mask.sum() >= LEAST_PIECE * mask.sum()]
    each = [inner_points(one.full_mask(), 1, generator)[0] for one in large]
    return {
        "box": Box(*tight_box(mask)),
        "scribble": Scribble(along(inner_points(largest, CORNERS, generator))),
        "3 points": Points(inner_points(largest, 3, generator)),
        "1 point": Points(inner_points(largest, 1, generator)),
        "a point on each": Points(each),
    }


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the IoU of two masks (H, W)."""
    return float((one & other).sum() / (one | other).sum())


def examples_of(
    segmenter: FewShotSegmenter, picture: np.ndarray, mark: Mark
) -> dict[str, np.ndarray]:
    """Return "drawn" and "outlined" → the mask that a mark makes; of a box they are the same."""
    drawn = annotation_mask(mark, picture.shape[:2])
    if isinstance(mark, Box):
        return {"drawn": drawn}
    given = with_outlines(segmenter.network, read_given([(picture, mark)]))
    return {"drawn": drawn, "outlined": given.pairs[0][1]}


def main() -> None:
    """Parse, score, print JSON in percent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small", help="small, tiny, a model folder, or a hub id")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="ask every N-th query alone")
    arguments = parser.parse_args()
    segmenter = FewShotSegmenter.from_pretrained(arguments.model)
    generator = np.random.default_rng(0)
    boards: dict[str, ScoreBoard] = defaultdict(ScoreBoard)
    overlaps: dict[str, list[float]] = defaultdict(list)
    questions = [
        (name, pictures[place], pictures[(place + 1) % len(pictures)])
        for name, pictures in novel_pictures(arguments.data_root).items()
        for place in range(len(pictures))
    ]
    for name, (query, truth), (path, mask) in questions[:: arguments.every]:
        picture, examples = read_image(path), {"mask": mask}
        for kind, mark in marks_on(mask, generator).items():
            made = examples_of(segmenter, picture, mark)
            examples |= {f"{kind}, {how}": example for how, example in made.items()}
        for kind, example in examples.items():
            segmenter.fit([(picture, example)], appearance="off")
            found = torch.from_numpy(segmenter.predict(query, threshold=0).mask)
            everywhere = torch.ones_like(found)
            boards[kind].add(name, count_pixels(found, torch.from_numpy(truth), everywhere))
            overlaps[kind].append(overlap(example, mask))
    scores = {
        kind: {
            "example_iou": round(100 * float(np.mean(overlaps[kind])), 1),
            "miou": round(100 * board.compute().miou, 1),
        }
        for kind, board in boards.items()
    }
    print(json.dumps({"queries": len(overlaps["mask"]), **scores}, indent=2))


if __name__ == "__main__":
    main()
