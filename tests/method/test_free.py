"""What the methods share: resizes as the papers count pixels, empty masks, logits of shares."""

from __future__ import annotations

import pytest
import torch

from fcp.errors import FcpError
from fcp.layers.masked import touched_cells
from fcp.method.free import (
    centre_if_empty,
    decode_points,
    down,
    nearest,
    no_mask,
    pool_shots,
    soft_logits,
)
from fcp.method.registry import METHODS


def test_resizes_read_the_pixels_that_the_papers_say():
    picture = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    small, corner = down(picture, (4, 4))[0], nearest(picture, (4, 4))[0]
    for i in range(4):
        for j in range(4):
            middle = picture[0, 4 * i + 1 : 4 * i + 3, 4 * j + 1 : 4 * j + 3]
            torch.testing.assert_close(small[i, j], middle.mean())
            assert corner[i, j] == picture[0, 4 * i, 4 * j]
    odd = nearest(picture, (5, 5))[0]
    assert odd[3, 4] == picture[0, int(3 * 16 / 5), int(4 * 16 / 5)]
    mask = torch.zeros(1, 14, 14)
    mask[0, 6, 13] = 1
    assert touched_cells(mask, (2, 2)).tolist() == [[[False, True], [False, False]]]


def test_the_centre_stands_for_masks_that_are_all_empty():
    masks = torch.zeros(2, 100, 100)
    found = centre_if_empty(masks)
    assert found.sum() == 2 * 14 * 14
    assert found[:, 43:57, 43:57].all()
    assert not masks.any()
    masks[1, 0, 0] = 1
    assert centre_if_empty(masks) is masks


def test_logits_keep_the_threshold_of_one_half():
    soft = torch.tensor([0.0, 0.4999999, 0.5, 0.5000001, 1.0])
    assert (soft_logits(soft) > 0).tolist() == [False, False, False, True, True]
    assert soft_logits(soft).isfinite().all()
    assert not (no_mask((3, 4), soft) > 0).any()


def test_pooled_shots_stand_in_a_row():
    cells = torch.arange(12).view(2, 3, 2)
    assert pool_shots(cells)[0].tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]


@torch.no_grad()
def test_a_hundred_prompts_in_one_batch_are_each_one_alone(toy_segmenter):
    embedding = toy_segmenter.encode(torch.rand(1, 3, 64, 64))
    points = torch.rand(100, 1, 2)
    logits, iou = decode_points(toy_segmenter, embedding, points, multimask=True)
    assert logits.shape == (100, 3, 32, 32)
    for i in (0, 57, 99):
        alone = decode_points(toy_segmenter, embedding, points[i : i + 1], multimask=True)
        torch.testing.assert_close(logits[i], alone[0][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(iou[i], alone[1][0], atol=1e-4, rtol=1e-4)


def test_unknown_options_are_named(toy_cells, toy_segmenter):
    with pytest.raises(FcpError, match="unknown option 'threshold'; known: released, shots"):
        METHODS["insid3"](toy_cells(), None, threshold=3)
    with pytest.raises(FcpError, match="shots: expected one of paper, pooled, got 'best'"):
        METHODS["gf-sam"](toy_cells(), toy_segmenter, shots="best")
    with pytest.raises(FcpError, match="preset: expected one of coco, fss, parts, got 'voc'"):
        METHODS["matcher"](toy_cells(), toy_segmenter, preset="voc")
    with pytest.raises(FcpError, match="components: expected 1 … 23"):
        METHODS["insid3"](toy_cells(), None, components=24)
