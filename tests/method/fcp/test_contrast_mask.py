"""Contrast's share in the mask of several pooled examples, against loops over the cells."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcp.config import BackboneConfig, HeadConfig, ModelConfig, SegmenterConfig
from fcp.encoders import build_backbone, build_segmenter
from fcp.layers.grid import on_grid
from fcp.method.contrast.steps import SHARPNESS
from fcp.method.fcp.contrast_mask import compare, mix
from fcp.method.fcp.model import FCP
from fcp.structures import Episode, SupportSet

SIZE, SHARE = 64, 0.6


def make_model(share: float) -> FCP:
    torch.manual_seed(0)
    config = ModelConfig(
        head=HeadConfig(width=16, tokens=4, contrast_share=share),
        backbone=BackboneConfig("efficientnet_lite", options={"size": 0}),
        segmenter=SegmenterConfig(
            "tiny", options={"width": 16, "decoder_width": 16, "image_size": 128}
        ),
        image_size=SIZE,
    )
    parts = build_backbone(config.backbone), build_segmenter(config.segmenter)
    return FCP(config, *parts).eval()


def make_episode(shots: int, batch: int = 1) -> Episode:
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(batch, shots, SIZE, SIZE)
    for task, examples in enumerate(masks):
        for shot, mask in enumerate(examples):
            mask[4 * shot : 32 + 8 * task, : 40 - 4 * shot] = 1
    pictures = torch.rand(batch, shots + 1, 3, SIZE, SIZE, generator=generator)
    return Episode(pictures[:, 1:], masks, pictures[:, 0])


def pooled(model: FCP, episode: Episode) -> SupportSet:
    return model.encode_support(episode.support_images, episode.support_masks, fusion="pooled")


def mixed(head: Tensor, other: Tensor, share: float) -> Tensor:
    """Return the logits (SIZE, SIZE) of a mean of the probabilities of two maps (h, w)."""
    probability = (1 - share) * head.sigmoid() + share * other.sigmoid()
    whole = (SIZE, SIZE)
    logits = probability.logit()[None, None]
    return F.interpolate(logits, whole, mode="bilinear", align_corners=True)[0, 0]


def masks_of(model: FCP, episode: Episode, fusion: str = "pooled") -> Tensor:
    with torch.inference_mode():
        return model(episode, fusion=fusion).mask_logits


def naive_contrast(model: FCP, episode: Episode) -> Tensor:
    """Return 20 (d - m) (h, w) of the first task, one cell at a time."""
    pictures = [*episode.support_images[0], episode.query_images[0]]
    with torch.inference_mode():
        side = model.segmenter.encode(episode.query_images).image.shape[-1]
        maps = [on_grid(model.backbone(one[None]).mid, (side, side))[0] for one in pictures]
    cells = [[cell / cell.norm() for cell in one.flatten(1).T] for one in maps]
    shown = F.interpolate(episode.support_masks[0][:, None], (side, side))[:, 0].flatten(1) > 0
    own = list(zip(chain.from_iterable(cells[:-1]), shown.flatten(), strict=True))
    parts = [[cell for cell, is_object in own if is_object == kind] for kind in (True, False)]
    p, b = (F.normalize(torch.stack(part).mean(0), dim=0) for part in parts)
    means = [torch.stack([(p - b) @ cell for cell in part]).mean() for part in parts]
    values = [(p - b) @ cell - (means[0] + means[1]) / 2 for cell in cells[-1]]
    return SHARPNESS * torch.stack(values).view(side, side)


@pytest.mark.parametrize("shots", [2, 5])
def test_the_share_grows_with_the_examples(shots):
    """The probability is that of the plain model, and a share of that of the redrawn contrast."""
    episode, model = make_episode(shots), make_model(SHARE)
    contrast = naive_contrast(model, episode)
    rows, columns = torch.where(contrast > 0)
    side = len(contrast)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    with torch.inference_mode():
        tokens, _ = model.segmenter.embed_prompts(boxes=torch.tensor([box]) / side)
        embedding = model.segmenter.encode(episode.query_images)
        drawn, _ = model.segmenter.decode_candidates(
            embedding, tokens, contrast[None, None], multimask=False
        )
    plain = make_model(0.0)
    with torch.inference_mode():
        support = pooled(plain, episode)
        query = plain.encode_query(episode.query_images)
        head = plain.segmenter.decode(
            query.embedding, plain.head(support, query).prompts[:, 0]
        ).logits
    expected = mixed(head[0], drawn[0, 0], SHARE * (1 - 1 / shots))
    found = masks_of(model, episode)
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, masks_of(plain, episode), atol=1e-2)


@pytest.mark.parametrize(("shots", "fusion"), [(1, "pooled"), (3, "mean"), (3, "confidence")])
def test_one_example_and_unpooled_ones_have_no_share(shots, fusion):
    episode = make_episode(shots)
    found = masks_of(make_model(SHARE), episode, fusion)
    torch.testing.assert_close(found, masks_of(make_model(0.0), episode, fusion))


def test_a_training_judges_the_head_alone():
    model, episode = make_model(SHARE), make_episode(3)
    assert pooled(model.train(), episode).contrast_mask is None
    assert model.encode_query(episode.query_images).mid_units is None


def test_a_batch_is_its_tasks_one_at_a_time():
    model, episode = make_model(SHARE), make_episode(3, batch=2)
    together = masks_of(model, episode)
    for b in range(2):
        one = Episode(*(value[b : b + 1] for value in vars(episode).values()))
        torch.testing.assert_close(together[b], masks_of(model, one)[0], atol=1e-4, rtol=1e-4)


def test_one_support_serves_several_queries():
    model, episode = make_model(SHARE), make_episode(3)
    other = make_episode(3, batch=2).query_images
    with torch.inference_mode():
        support = pooled(model, episode)
        together = model.match(support, model.encode_query(other)).mask_logits
    for b in range(2):
        one = Episode(episode.support_images, episode.support_masks, other[b : b + 1])
        torch.testing.assert_close(together[b], masks_of(model, one)[0], atol=1e-4, rtol=1e-4)


def elsewhere(support: SupportSet, by: float | Tensor) -> SupportSet:
    """Move the border between object and background away, so that no cell is above it."""
    contrast = support.contrast_mask
    return replace(support, contrast_mask=replace(contrast, middle=contrast.middle + by))


def test_a_contrast_without_an_object_is_mixed_as_it_is():
    """The segmenter is not asked; a batch may hold both kinds."""
    model, episode = make_model(SHARE), make_episode(3, batch=2)
    with torch.inference_mode():
        support = pooled(model, episode)
        query = model.encode_query(episode.query_images)
        head = model.segmenter.decode(query.embedding, model.head(support, query).prompts[:, 0])
        both = model.match(elsewhere(support, torch.tensor([0.0, 9.0])), query).mask_logits
        maps = compare(elsewhere(support, torch.tensor([0.0, 9.0])).contrast_mask, query)
        whole = model.match(support, query).mask_logits
    assert (maps[0] > 0).any()
    assert (maps[1] < 0).all()
    torch.testing.assert_close(both[0], whole[0])
    spread = F.interpolate(maps[1:, None], head.logits.shape[-2:], mode="bilinear")[0, 0]
    expected = mixed(head.logits[1], spread, SHARE * (1 - 1 / 3))
    torch.testing.assert_close(both[1], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
@pytest.mark.parametrize("by", [0.0, 9.0])
def test_half_precision_agrees(dtype, bound, by):
    """Probabilities, also where the segmenter is not asked."""
    model, episode = make_model(SHARE), make_episode(3)

    def found() -> Tensor:
        with torch.inference_mode():
            support = pooled(model, episode)
            query = model.encode_query(episode.query_images)
            return model.match(elsewhere(support, by), query).mask_logits

    exact = found()
    with torch.autocast("cpu", dtype=dtype):
        rough = found()
    assert rough.dtype == torch.float32
    assert (rough.sigmoid() - exact.sigmoid()).abs().max() < bound


def test_a_query_without_the_compared_cells_is_refused():
    model, episode = make_model(SHARE), make_episode(3)
    support = pooled(model, episode)
    query = replace(model.encode_query(episode.query_images), mid_units=None)
    with pytest.raises(ValueError, match="without the cells that Contrast compares"):
        model.match(support, query)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_probabilities_are_mixed(share):
    """Also where a float32 sigmoid is 0 or 1: a logit stays finite."""
    first = torch.tensor([[[-200.0, -1.0], [1.0, 200.0]]])
    second = torch.tensor([[-3.0, 4.0], [-5.0, 300.0]])
    expected = (1 - share) * first.double().sigmoid() + share * second.double().sigmoid()
    found = mix(first, [second], share)
    assert found.isfinite().all()
    torch.testing.assert_close(found.double().sigmoid(), expected, atol=2e-6, rtol=0)
