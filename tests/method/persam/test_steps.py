"""PerSAM's steps against loops that follow the equations, and its three calls."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from fcp.encoders.guided import Guidance
from fcp.method.persam.frame import PictureFrame
from fcp.method.persam.steps import (
    PointDecoder,
    at_picture,
    attention_bias,
    box_of,
    confidence,
    extreme_points,
    mean_confidence,
    target_mean,
    target_mean_max,
    three_calls,
)

C, N = 8, 16


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(2, C, N, generator=generator)
    return support, query, torch.rand(N, generator=generator) > 0.5


def test_targets_and_confidence(maps):
    support, query, mask = maps
    inside = [support[:, n] for n in range(N) if mask[n]]
    mean = sum(inside) / len(inside)
    torch.testing.assert_close(target_mean(support, mask), mean)
    most = torch.stack(inside).amax(0)
    torch.testing.assert_close(target_mean_max(support, mask), (mean + most) / 2)

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm()))

    found, paper = confidence(query, mean), mean_confidence(query, support, mask)
    for n in range(N):
        assert float(found[n]) == pytest.approx(cosine(mean, query[:, n]), abs=1e-5)
        each = [cosine(cell, query[:, n]) for cell in inside]
        assert float(paper[n]) == pytest.approx(sum(each) / len(each), abs=1e-5)
    one = torch.zeros(N, dtype=torch.bool)
    one[3] = True  # of one cell both are the same
    torch.testing.assert_close(
        mean_confidence(query, support, one), confidence(query, target_mean(support, one))
    )


def test_confidence_goes_the_way_of_sams_masks(maps):
    _, query, _ = maps
    frame = PictureFrame((30, 50), 64)
    square = functional.interpolate(
        functional.interpolate(query[0].view(1, 1, 4, 4), (16, 16), mode="bilinear"),
        (64, 64),
        mode="bilinear",
    )[:, :, :38]
    expected = functional.interpolate(square, (30, 50), mode="bilinear")[0, 0]
    torch.testing.assert_close(at_picture(query[0], (4, 4), frame), expected)


def test_points_are_the_extremes():
    values = torch.zeros(5, 7)
    values[1, 6], values[4, 2] = 3, -2
    assert extreme_points(values).tolist() == [[6, 1], [2, 4]]


def test_bias_released_and_papers(maps):
    _, query, _ = maps
    like = query[0]
    for size in ((64, 64), (30, 50)):
        at_pixels = at_picture(like, (4, 4), PictureFrame(size, 64))
        mean = float(at_pixels.mean())
        spread = math.sqrt(float(((at_pixels - mean) ** 2).sum()) / (at_pixels.numel() - 1))
        small = functional.interpolate(at_pixels[None, None], (4, 4), mode="bilinear")[0, 0]
        for released, values in ((True, small.flatten()), (False, like)):
            found = attention_bias(at_pixels, like, (4, 4), released=released)
            torch.testing.assert_close(found, torch.sigmoid((values - mean) / spread))


def test_box_is_inclusive():
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[2:5, 3] = mask[4, 3:8] = True
    assert box_of(mask).tolist() == [3, 2, 7, 4]


class Recorder:
    """A decoder that notes its calls and answers with planned masks."""

    frame = PictureFrame((8, 8), 8)

    def __init__(self, *answers: list[float]) -> None:
        self.answers, self.calls = list(answers), []

    def draw(self, *, box=None, low=None, multimask=True, guidance=None):
        self.calls.append((box, low, multimask, guidance))
        levels = torch.tensor(self.answers.pop(0))
        masks = levels[:, None, None] * torch.ones(len(levels), 8, 8)
        masks[:, :, 4:] = -1
        return masks, levels / 10


def test_persams_three_calls():
    guidance = Guidance(torch.zeros(1, 4), torch.zeros(1, 2))
    decoder = Recorder([1.0], [2.0, 4.0, 3.0], [1.0, 2.0, 6.0])
    calls, iou = three_calls(decoder, guidance, None)
    (box1, low1, many1, guided1), (box2, low2, many2, guided2), (box3, low3, _, guided3) = (
        decoder.calls
    )
    assert (box1, low1, many1, guided1) == (None, None, False, guidance)
    assert (box2, many2, guided2, guided3) == (None, True, None, None)
    assert float(low2[0, 0]) == 1.0
    assert box3.tolist() == [0, 0, 3, 7]
    assert float(low3[0, 0]) == 4.0  # the best of the second call
    assert [float(call[0, 0]) for call in calls] == [1, 4, 6]
    assert float(iou) == pytest.approx(0.6)


def test_an_empty_second_mask_is_the_answer():
    decoder = Recorder([1.0], [-2.0, -4.0, -3.0])
    calls, _ = three_calls(decoder, None, None)
    assert len(calls) == 2
    assert not (calls[-1] > 0).any()


def test_persam_f_mixes_its_first_masks():
    weights = torch.tensor([0.5, -0.5, 1.0])
    decoder = Recorder([1.0, 2.0, 4.0], [2.0, 4.0, 3.0], [7.0, 2.0, 6.0])
    calls, _ = three_calls(decoder, None, weights)
    assert [float(call[0, 0]) for call in calls] == [3.5, 4, 7]
    assert decoder.calls[1][0].tolist() == [0, 0, 3, 7]
    assert float(decoder.calls[1][1][0, 0]) == 3.5
    assert float(decoder.calls[2][1][0, 0]) == 4
    empty = Recorder([-1.0, -2.0, -4.0])
    assert len(three_calls(empty, None, torch.full((3,), 1 / 3))[0]) == 1


@torch.no_grad()
def test_decoder_speaks_in_pixels_of_the_picture(toy_segmenter):
    frame = PictureFrame((48, 64), toy_segmenter.image_size)
    image = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    embedding = toy_segmenter.encode(frame.put(image))
    points, labels = torch.tensor([[10, 20], [40, 30]]), torch.tensor([1.0, 0.0])
    decoder = PointDecoder(toy_segmenter, embedding, frame, points, labels)
    low = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    found, iou = decoder.draw(box=torch.tensor([4, 5, 50, 40]), low=low)
    tokens, _ = toy_segmenter.embed_prompts(
        points=points[None] / 64,
        point_labels=labels[None],
        boxes=torch.tensor([[4, 5, 50, 40]]) / 64,
    )
    expected = toy_segmenter.decode_candidates(embedding, tokens, low[None, None], multimask=True)
    torch.testing.assert_close(found, expected[0][0])
    torch.testing.assert_close(iou, expected[1][0])
    assert found.shape == (3, 32, 32)
