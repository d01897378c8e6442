"""Matcher's proposals: trust, boxes and duplicates against loops."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from fcp.method.free import decode_points, down, mask_boxes
from fcp.method.matcher.proposals import box_nms, dense_points, draw, propose, stability
from fcp.method.matcher.settings import COCO

PLAIN = replace(COCO, masks=1, iou=0, stability=0, nms=1, dense=False)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_stability_counts_pixels(generator):
    logits = 3 * torch.randn(4, 6, 7, generator=generator)
    logits[3] = -5
    expected = []
    for one in logits:
        values = one.flatten().tolist()
        outer = sum(v > -1 for v in values)
        expected.append(sum(v > 1 for v in values) / outer if outer else 0)
    assert stability(logits).tolist() == pytest.approx(expected)


def test_boxes_are_inclusive(generator):
    masks = torch.rand(5, 9, 11, generator=generator) > 0.95
    masks[4] = False
    for mask, box in zip(masks, mask_boxes(masks).tolist(), strict=True):
        at = mask.nonzero().tolist()
        xs, ys = [x for _, x in at] or [0], [y for y, _ in at] or [0]
        assert box == [min(xs), min(ys), max(xs), max(ys)]


def naive_nms(boxes: list[list[float]], iou: list[float], most: float) -> list[int]:
    def overlap(a: list[float], b: list[float]) -> float:
        w = min(a[2], b[2]) - max(a[0], b[0])
        h = min(a[3], b[3]) - max(a[1], b[1])
        common = max(w, 0) * max(h, 0)
        union = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - common
        return common / union if union else 0

    left = sorted(range(len(boxes)), key=lambda i: -iou[i])
    kept: list[int] = []
    for i in left:
        if all(overlap(boxes[i], boxes[j]) <= most for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("most", [0.1, 0.4, 0.65, 1.0])
def test_duplicates_go_by_their_boxes(generator, most):
    corners = torch.rand(40, 2, generator=generator) * 20
    boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=generator) * 20], 1)
    boxes[1] = boxes[0]
    boxes[2:4] = torch.tensor([3.0, 3.0, 3.0, 3.0])  # two boxes without area
    iou = torch.rand(40, generator=generator)
    assert box_nms(boxes, iou, most).tolist() == naive_nms(boxes.tolist(), iou.tolist(), most)


def test_dense_points_are_cell_centres_row_by_row():
    points = dense_points(128)
    assert points.shape == (4096, 1, 2)
    assert points[:3, 0].tolist() == [[1, 1], [3, 1], [5, 1]]
    assert points[64, 0].tolist() == [1, 3]


@torch.no_grad()
@pytest.mark.parametrize("masks", [1, 3])
def test_what_sam_does_not_trust_goes(toy_segmenter, generator, masks):
    embedding = toy_segmenter.encode(torch.rand(1, 3, 64, 64, generator=generator))
    prompts = torch.randint(0, 56, (6, 2, 2), generator=generator)
    logits, iou = decode_points(toy_segmenter, embedding, prompts / 56, multimask=masks == 3)
    logits, iou = logits.flatten(0, 1), iou.flatten()
    framed = down(logits, (56, 56))
    stable = stability(framed)
    middle_iou, middle_stability = float(iou.median()), float(stable.median())
    settings = replace(PLAIN, masks=masks, iou=middle_iou, stability=middle_stability)
    found = draw(toy_segmenter, embedding, prompts, 56, settings=settings)
    kept = [
        i
        for i in range(6 * masks)
        if float(iou[i]) > middle_iou and float(stable[i]) >= middle_stability
    ]
    torch.testing.assert_close(found.iou, iou[kept])
    torch.testing.assert_close(found.logits, logits[kept])
    assert torch.equal(found.masks, framed[kept] > 0)
    everything = draw(toy_segmenter, embedding, prompts, 56, settings=replace(PLAIN, masks=masks))
    assert len(everything.iou) == 6 * masks


@torch.no_grad()
def test_proposals_of_all_sets_and_the_dense_grid(toy_segmenter, generator):
    embedding = toy_segmenter.encode(torch.rand(1, 3, 64, 64, generator=generator))
    sets = [torch.randint(0, 56, (3, n, 2), generator=generator) for n in (1, 2)]
    plain = propose(toy_segmenter, embedding, iter(sets), 56, settings=PLAIN, box=None)
    assert plain.masks.shape == (6, 56, 56)
    apart = itertools.chain.from_iterable(
        draw(toy_segmenter, embedding, one, 56, settings=PLAIN).iou.tolist() for one in sets
    )
    assert plain.iou.tolist() == pytest.approx(list(apart))
    boxed = propose(
        toy_segmenter,
        embedding,
        iter(sets),
        56,
        settings=PLAIN,
        box=torch.tensor([4, 4, 40, 40]),
    )
    assert not torch.allclose(boxed.logits, plain.logits)
    fewer = propose(
        toy_segmenter, embedding, iter(sets), 56, settings=replace(PLAIN, nms=0.5), box=None
    )
    assert fewer.iou.tolist() == [
        plain.iou.tolist()[i]
        for i in naive_nms(mask_boxes(plain.masks).tolist(), plain.iou.tolist(), 0.5)
    ]
