"""The small promptable segmenter: shapes, prompts that matter, position code, strict loading."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import MobileNetV2Config, MobileNetV2Model

from fcp.encoders.tiny import TinySegmenter, build_tiny, paint_boxes, start_trunk
from fcp.errors import FcpError
from fcp.structures import Embedding


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return TinySegmenter(width=32, image_size=64, decoder_width=32).eval()


def test_shapes_follow_the_picture(segmenter):
    embedding = segmenter.encode(torch.rand(2, 3, 100, 50))
    assert embedding.image.shape == (2, 32, 8, 8)
    assert [m.shape[1:] for m in embedding.high_resolution] == [(4, 32, 32), (8, 16, 16)]
    decoded = segmenter.decode(embedding, torch.rand(2, 3, 32), torch.rand(2, 1, 8, 8))
    assert decoded.logits.shape == (2, 32, 32)
    assert decoded.iou.shape == (2,)
    assert ((decoded.iou > 0) & (decoded.iou < 1)).all()


def test_a_batch_decodes_as_its_pictures_do(segmenter):
    images, prompts = torch.rand(3, 3, 64, 64), torch.rand(3, 2, 32)
    embedding = segmenter.encode(images)
    together = segmenter.decode(embedding, prompts).logits
    for index in range(3):
        one = segmenter.encode(images[index : index + 1])
        alone = segmenter.decode(one, prompts[index : index + 1]).logits[0]
        torch.testing.assert_close(together[index], alone, atol=1e-4, rtol=1e-4)


def test_a_box_is_its_corners(segmenter):
    """Against transformers' own box embedding, which counts in pixels and adds padding."""
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9]])
    tokens, painted = segmenter.embed_prompts(boxes=boxes)
    torch.testing.assert_close(painted, paint_boxes(boxes, 32))
    with torch.no_grad():
        reference = segmenter.prompt_encoder._embed_boxes(boxes[:, None] * 64 - 0.5)
    torch.testing.assert_close(tokens, reference[:, 0, :2])


def test_points_move_the_mask_and_padding_does_not_move_with_place(segmenter):
    points = torch.tensor([[[0.2, 0.2]], [[0.8, 0.8]]])
    labels = torch.ones(2, 1)
    tokens, painted = segmenter.embed_prompts(points=points, point_labels=labels)
    assert painted is None
    assert not torch.allclose(tokens[0], tokens[1])
    padding, _ = segmenter.embed_prompts(points=points, point_labels=-labels)
    torch.testing.assert_close(padding[0], padding[1])


def test_without_a_mixer_a_box_is_its_corners_alone():
    torch.manual_seed(0)
    plain = TinySegmenter(width=16, image_size=64, decoder_width=16, mixer=False).eval()
    assert not any(name.startswith("prompt_mixer") for name in plain.state_dict())
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.3, 0.3, 0.5, 0.4]])
    tokens, painted = plain.embed_prompts(boxes=boxes)
    assert tokens.shape == (2, 2, 16)
    assert painted is None
    embedding = plain.encode(torch.rand(2, 3, 64, 64))
    other = plain.embed_prompts(boxes=boxes.flip(0))[0]
    assert not torch.allclose(
        plain.decode(embedding, tokens).logits, plain.decode(embedding, other).logits
    )


def test_painted_boxes_cover_what_a_fine_raster_does():
    """Against ten times as many cells, each inside or outside, averaged."""
    boxes = torch.tensor([[0.13, 0.27, 0.58, 0.95], [0.0, 0.0, 1.0, 1.0], [0.4, 0.4, 0.41, 0.6]])
    fine = (torch.arange(160) + 0.5) / 160
    across = (fine > boxes[:, :1]) & (fine < boxes[:, 2:3])
    down = (fine > boxes[:, 1:2]) & (fine < boxes[:, 3:])
    inside = (down[:, :, None] & across[:, None, :]).float()[:, None]
    expected = (2 * F.avg_pool2d(inside, 10) - 1) * 4
    torch.testing.assert_close(paint_boxes(boxes, 16), expected, atol=1.0, rtol=0)
    assert (paint_boxes(boxes, 16)[1] == 4).all()


def test_cells_look_around_for_the_mask_prompt(segmenter):
    """A mask prompt in one corner changes the answer beyond it, through the mixer alone."""
    x = torch.randn(1, 32, 8, 8)
    changed = x.clone()
    changed[..., :2, :2] += 1
    moved = (segmenter.prompt_mixer(changed) - segmenter.prompt_mixer(x)).abs().amax(1)[0]
    assert moved[4:, 4:].amax() > 1e-4


def test_no_prompt_is_an_error(segmenter):
    with pytest.raises(FcpError, match="points or boxes"):
        segmenter.embed_prompts()


def test_position_code_of_the_grid_is_that_of_points(segmenter):
    """A cell's code is what a point at its centre gets, before the label's own vector."""
    code = segmenter._grid_position(8, 8)[0]
    centre = torch.tensor([[[(5 + 0.5) / 8, (2 + 0.5) / 8]]])
    point = segmenter.prompt_encoder.shared_embedding(centre[:, None])[0, 0, 0]
    torch.testing.assert_close(code[:, 2, 5], point, atol=1e-5, rtol=1e-5)


def test_three_candidates_for_an_ambiguous_prompt(segmenter):
    embedding = segmenter.encode(torch.rand(1, 3, 64, 64))
    logits, iou = segmenter.decode_candidates(embedding, torch.rand(1, 1, 32), None, multimask=True)
    assert logits.shape == (1, 3, 32, 32)
    assert iou.shape == (1, 3)


def test_every_unfrozen_parameter_learns():
    torch.manual_seed(0)
    model = TinySegmenter(width=16, image_size=64, decoder_width=16)
    embedding = model.encode(torch.rand(2, 3, 64, 64))
    box, painted = model.embed_prompts(boxes=torch.rand(2, 4))
    point, _ = model.embed_prompts(
        points=torch.rand(2, 3, 2), point_labels=torch.tensor([[1, 0, -1]] * 2)
    )
    loss = torch.zeros(())
    for prompts, coarse, multimask in (
        (torch.cat([box, point], 1), None, False),
        (box, painted, True),
    ):
        logits, iou = model.decode_candidates(
            Embedding(embedding.image, embedding.high_resolution),
            prompts,
            coarse,
            multimask=multimask,
        )
        loss = loss + logits.square().mean() + iou.square().mean()
    loss.backward()
    silent = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert silent == []
    frozen = {n.split(".")[1] for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"obj_score_token", "pred_obj_score_head"}


def test_weights_round_trip_and_refuse_another_size(segmenter, tmp_path):
    file = tmp_path / "segmenter.safetensors"
    save_file(segmenter.state_dict(), file)
    again = build_tiny(str(file), width=32, image_size=64, decoder_width=32).eval()
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(again.encode(images).image, segmenter.encode(images).image)
    with pytest.raises(FcpError, match=r"segmenter\.safetensors"):
        build_tiny(str(file), width=16, image_size=64, decoder_width=32)


def test_the_trunk_starts_from_a_mobilenet(segmenter, tmp_path):
    torch.manual_seed(1)
    source = MobileNetV2Model(MobileNetV2Config()).eval()
    source.save_pretrained(tmp_path)
    encoder = TinySegmenter(width=16, image_size=64, decoder_width=16).image_encoder.eval()
    start_trunk(encoder, str(tmp_path))
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    expected = source(pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(encoder.levels(pixels)[-1], expected[-1])
