"""SAM, SAM-HQ and SAM 2 at toy size against the forward pass of transformers' own models."""

import pytest
import torch
from torch.nn import functional

from fcp.config import SegmenterConfig
from fcp.encoders import build_segmenter

FAMILY = ["sam", "sam_hq", "sam2"]


@pytest.fixture
def make(sam_configs, randomise):
    def build(name):
        config = SegmenterConfig(name, options={"config": sam_configs[name]})
        segmenter = build_segmenter(config)
        randomise(segmenter)
        return segmenter.eval()

    return build


def pixels(images):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("prompt", ["points", "boxes", "both", "mask"])
@torch.no_grad()
def test_decode_matches_the_models_forward(make, images, name, prompt):
    segmenter = make(name)
    points, labels = torch.rand(2, 3, 2), torch.tensor([[1, 0, 1], [1, 1, 0]])
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.0, 0.0, 1.0, 0.5]])
    ours, theirs = {}, {}
    if prompt != "boxes":
        ours |= {"points": points, "point_labels": labels}
        theirs |= {"input_points": points[:, None] * 64, "input_labels": labels[:, None]}
    if prompt in ("boxes", "both"):
        ours["boxes"], theirs["input_boxes"] = boxes, boxes[:, None] * 64
    mask_prompt = None
    if prompt == "mask":
        side = 16 if name == "sam2" else 32
        mask_prompt = theirs["input_masks"] = torch.randn(2, 1, side, side)
    expected = segmenter.model(pixel_values=pixels(images), multimask_output=False, **theirs)
    tokens, wanted = segmenter.embed_prompts(**ours)
    assert wanted is None
    decoded = segmenter.decode(segmenter.encode(images), tokens, mask_prompt)
    torch.testing.assert_close(decoded.logits, expected.pred_masks[:, 0, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoded.iou, expected.iou_scores[:, 0, 0], rtol=1e-4, atol=1e-5)
    assert decoded.logits.std() > 1e-3


@pytest.mark.parametrize("name", FAMILY)
@torch.no_grad()
def test_batched_is_single(make, images, name):
    segmenter = make(name)
    prompts = torch.randn(2, 5, segmenter.width)
    together = segmenter.decode(segmenter.encode(images), prompts)
    for i in range(2):
        alone = segmenter.decode(segmenter.encode(images[i : i + 1]), prompts[i : i + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILY)
def test_gradient_reaches_prompts_and_mask_prompt(make, images, name):
    segmenter = make(name).requires_grad_(False)
    prompts = torch.randn(2, 5, segmenter.width, requires_grad=True)
    mask_prompt = torch.randn(2, 1, 8, 8, requires_grad=True)
    decoded = segmenter.decode(segmenter.encode(images), prompts, mask_prompt)
    decoded.logits.square().sum().backward()
    assert prompts.grad.abs().amin((1, 2)).ge(0).all()
    assert prompts.grad.abs().sum() > 0
    assert mask_prompt.grad.abs().sum() > 0


@torch.no_grad()
def test_pictures_of_any_size_are_brought_to_the_models(make):
    segmenter = make("sam")
    image = torch.rand(1, 3, 100, 100)
    resized = functional.interpolate(image, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(segmenter.encode(image).image, segmenter.encode(resized).image)


def test_unlabelled_points_are_foreground_and_no_prompt_is_a_mistake(make):
    segmenter = make("sam")
    points = torch.rand(2, 3, 2)
    torch.testing.assert_close(
        segmenter.embed_prompts(points=points)[0],
        segmenter.embed_prompts(points=points, point_labels=torch.ones(2, 3))[0],
    )
    with pytest.raises(ValueError, match="points or boxes"):
        segmenter.embed_prompts()


def test_sam2_keeps_to_its_single_mask_token(make):
    assert not make("sam2").model.mask_decoder.dynamic_multimask_via_stability


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("masked", [True, False])
@torch.no_grad()
def test_many_prompts_a_picture_are_each_one_alone(make, images, name, masked):
    segmenter = make(name)
    points = torch.rand(6, 2, 2)
    prompts, _ = segmenter.embed_prompts(points=points)
    mask_prompt = torch.randn(6, 1, 8, 8) if masked else None
    embedding = segmenter.encode(images)
    for multimask, count in ((True, 3), (False, 1)):
        logits, iou = segmenter.decode_candidates(
            embedding, prompts, mask_prompt, multimask=multimask
        )
        assert logits.shape[:2] == iou.shape == (6, count)
        for i in range(6):
            alone = segmenter.decode_candidates(
                segmenter.encode(images[i // 3][None]),
                prompts[i][None],
                None if mask_prompt is None else mask_prompt[i][None],
                multimask=multimask,
            )
            torch.testing.assert_close(logits[i], alone[0][0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(iou[i], alone[1][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILY)
@torch.no_grad()
def test_candidates_are_those_of_the_models_forward(make, images, name):
    segmenter = make(name)
    points = torch.rand(2, 3, 2)
    expected = segmenter.model(
        pixel_values=pixels(images),
        input_points=points[:, None] * 64,
        input_labels=torch.ones(2, 1, 3).int(),
        multimask_output=True,
    )
    tokens, _ = segmenter.embed_prompts(points=points)
    logits, iou = segmenter.decode_candidates(segmenter.encode(images), tokens, multimask=True)
    torch.testing.assert_close(logits, expected.pred_masks[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(iou, expected.iou_scores[:, 0], rtol=1e-4, atol=1e-5)
