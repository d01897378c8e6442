"""The whole model with stub encoders: calls, batches, shots, gradients, half precision."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fcp.config import HeadConfig, ModelConfig
from fcp.encoders.base import Backbone, PromptableSegmenter
from fcp.errors import FcpError
from fcp.method.fcp.heads import build_head
from fcp.method.fcp.losses.criterion import Criterion
from fcp.method.fcp.model import FCP
from fcp.method.fusion import RULES
from fcp.structures import BackboneFeatures, Decoded, Embedding, Episode

C, N, SIZE, STRIDE = 8, 3, 32, 8
ROWS = {
    "a": {"features": "F", "matching": "pixel", "pseudo_mask": "conventional"},
    "b": {"features": "G", "matching": "pixel", "pseudo_mask": "conventional"},
    "c": {"features": "F", "pseudo_mask": "conventional"},
    "d": {"features": "G", "pseudo_mask": "conventional"},
    "e": {"pseudo_mask": "conventional"},
    "f": {},
    "plain": {"plain_decoder": True},
}


class StubBackbone(Backbone):
    """One convolution for each map; counts the pictures that pass."""

    mid_channels, high_channels = 6, 5

    def __init__(self):
        super().__init__()
        self.mid = nn.Conv2d(3, 6, STRIDE, STRIDE)
        self.high = nn.Conv2d(6, 5, 1)
        self.norm = nn.BatchNorm2d(6)
        self.pictures = 0

    def forward(self, images, mask=None):
        self.pictures += len(images)
        mid = self.norm(self.mid(images))
        on_grid = 1 if mask is None else F.interpolate(mask, mid.shape[-2:])
        return BackboneFeatures(mid=mid, high=self.high(mid * on_grid))


class StubSegmenter(PromptableSegmenter):
    """Logits are products of the embedding with the mean of projected prompts."""

    width = C

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, C, STRIDE, STRIDE)
        self.decoder = nn.Linear(C, C)
        self.pictures, self.mask_prompt = 0, None

    def encode(self, images):
        self.pictures += len(images)
        return Embedding(self.encoder(images), (images[:, :1],))

    def decode(self, embedding, prompts, mask_prompt=None):
        self.mask_prompt = mask_prompt
        answer = self.decoder(prompts).tanh().mean(1)
        logits = torch.einsum("bchw,bc->bhw", embedding.image, answer)
        if mask_prompt is not None:
            logits = logits + mask_prompt[:, 0]
        assert len(embedding.high_resolution[0]) == len(prompts)
        return Decoded(F.interpolate(logits[:, None], scale_factor=4)[:, 0], answer.mean(1))

    def embed_prompts(self, *, points=None, point_labels=None, boxes=None):
        raise NotImplementedError


def make_model(**switches):
    torch.manual_seed(0)
    head = HeadConfig(width=C, tokens=N, heads=2, **switches)
    model = FCP(ModelConfig(head=head, image_size=SIZE), StubBackbone(), StubSegmenter())
    return model.eval()


def make_episode(batch=1, shots=1):
    torch.manual_seed(1)
    masks = torch.zeros(batch, shots, SIZE, SIZE)
    for index in range(batch * shots):
        masks.view(-1, SIZE, SIZE)[index, 4 * (index % 6) :, : 10 + index] = 1
    pictures = torch.rand(batch, shots, 3, SIZE, SIZE)
    return Episode(pictures, masks, torch.rand(batch, 3, SIZE, SIZE))


@pytest.mark.parametrize("shots", [1, 5])
def test_an_episode_encodes_k_plus_one_pictures(shots):
    model = make_model()
    output = model(make_episode(shots=shots))
    assert output.mask_logits.shape == (1, SIZE, SIZE)
    assert output.iou.shape == (1,)
    assert model.backbone.pictures == model.segmenter.pictures == shots + 1


def test_one_example_and_twenty_queries_encode_21_pictures():
    model, episode = make_model(), make_episode()
    support = model.encode_support(episode.support_images, episode.support_masks)
    for _ in range(20):
        model.match(support, model.encode_query(episode.query_images))
    assert model.backbone.pictures == model.segmenter.pictures == 21


def test_one_support_set_serves_a_batch_of_queries():
    model, episode = make_model(), make_episode(batch=3, shots=2)
    images, masks = episode.support_images[:1], episode.support_masks[:1]
    support = model.encode_support(images, masks)
    found = model.match(support, model.encode_query(episode.query_images), with_maps=True)
    spread = Episode(
        images.expand(3, -1, -1, -1, -1), masks.expand(3, -1, -1, -1), episode.query_images
    )
    expected = model(spread)
    close(found.mask_logits, expected.mask_logits)
    assert found.support_attention.shape == (3, 2, 3, N, 16)


def test_batched_is_single():
    model, episode = make_model(), make_episode(batch=3, shots=2)
    together = model(episode)
    for b in range(3):
        alone = model(Episode(*(x[b : b + 1] for x in vars(episode).values())))
        close(together.mask_logits[b], alone.mask_logits[0])
        close(together.iou[b], alone.iou[0])


def test_shots_are_averaged_as_logits_in_any_order():
    model, episode = make_model(), make_episode(shots=3)
    together = model(episode)

    def of_shots(shots):
        images, masks = episode.support_images[:, shots], episode.support_masks[:, shots]
        return model(Episode(images, masks, episode.query_images)).mask_logits

    close(together.mask_logits, of_shots([2, 0, 1]))
    close(together.mask_logits, sum(of_shots([k]) for k in range(3)) / 3)


@pytest.mark.parametrize("fusion", RULES)
@pytest.mark.parametrize("name", ROWS)
def test_no_fusion_minds_the_order_of_the_shots(fusion, name):
    model, episode = make_model(**ROWS[name]), make_episode(batch=2, shots=3)
    order = [2, 0, 1]
    images, masks = episode.support_images[:, order], episode.support_masks[:, order]
    turned = model(Episode(images, masks, episode.query_images), fusion=fusion)
    found = model(episode, fusion=fusion)
    close(turned.mask_logits, found.mask_logits)
    close(turned.iou, found.iou)


@pytest.mark.parametrize("fusion", RULES)
@pytest.mark.parametrize("name", ROWS)
def test_equal_shots_give_what_one_gives(fusion, name):
    model, one = make_model(**ROWS[name]), make_episode(batch=2)
    images = one.support_images.expand(-1, 4, -1, -1, -1)
    four = Episode(images, one.support_masks.expand(-1, 4, -1, -1), one.query_images)
    found, expected = (model(episode, fusion=fusion).mask_logits for episode in (four, one))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("fusion", RULES)
def test_one_shot_is_the_same_bit_for_bit(fusion):
    episode = make_episode(batch=2)
    found = make_model()(episode, fusion=fusion)
    expected = make_model()(episode)
    assert torch.equal(found.mask_logits, expected.mask_logits)
    assert torch.equal(found.iou, expected.iou)


def test_fusions_differ_and_pooled_examples_are_decoded_once():
    episode = make_episode(shots=3)
    found = {name: make_model()(episode, fusion=name) for name in RULES}
    assert [output.prompts.shape[1] for output in found.values()] == [3, 3, 1]
    for name in ("confidence", "pooled"):
        assert (found[name].mask_logits - found["mean"].mask_logits).abs().max() > 1e-5


def test_pooled_support_serves_a_batch_of_queries():
    model, episode = make_model(), make_episode(batch=3, shots=2)
    support = model.encode_support(
        episode.support_images[:1], episode.support_masks[:1], fusion="pooled"
    )
    found = model.match(support, model.encode_query(episode.query_images), with_maps=True)
    alone = model.match(support, model.encode_query(episode.query_images[1:2]))
    close(found.mask_logits[1:2], alone.mask_logits)
    assert found.support_attention.shape == (3, 2, 3, N, 16)


def test_logits_are_resized_with_aligned_corners():
    model, episode = make_model(), make_episode()
    output = model(episode)
    low = model.segmenter.decode(
        model.segmenter.encode(episode.query_images), output.prompts[:, 0]
    ).logits
    close(output.mask_logits[:, 0, 0], low[:, 0, 0])
    close(output.mask_logits[:, -1, -1], low[:, -1, -1])


def test_cached_encoder_outputs_give_the_same():
    model, episode = make_model(), make_episode(batch=2, shots=2)
    pictures, masks = episode.support_images.flatten(0, 1), episode.support_masks
    features = model.backbone(pictures, masks.flatten(0, 1)[:, None])
    support = model.head.prepare_support(features, model.segmenter.encode(pictures), masks)
    query = model.head.prepare_query(
        model.backbone(episode.query_images), model.segmenter.encode(episode.query_images)
    )
    assert torch.equal(model.match(support, query).mask_logits, model(episode).mask_logits)


@pytest.mark.parametrize("name", ROWS)
def test_every_parameter_of_the_head_learns_and_no_other(name):
    model, episode = make_model(**ROWS[name]).train(), make_episode(batch=2, shots=2)
    target = (torch.rand(2, SIZE, SIZE) > 0.5).float()
    Criterion()(model(episode, with_maps=True), target)["total"].backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.startswith("head."):
            assert parameter.grad.abs().sum() > 0, parameter_name
        else:
            assert not parameter.requires_grad
            assert parameter.grad is None


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_no_parameter_of_another(name):
    names = {
        n.split(".")[0]
        for n, _ in build_head(make_model(**ROWS[name]).config.head, 6).named_parameters()
    }
    assert ("query" in names) == (name not in "ab")


def test_a_plain_decoder_leaves_the_rest_of_the_head_as_it_starts():
    with_it, without = (make_model(plain_decoder=on).head.state_dict() for on in (True, False))
    assert {name for name in with_it if name.startswith("decoder.")} == with_it.keys() - without
    assert all(with_it[name].equal(tensor) for name, tensor in without.items())


@torch.no_grad()
def test_a_plain_decoder_reads_prompts_and_never_the_segmenters_decoder(monkeypatch):
    model, episode = make_model(plain_decoder=True), make_episode(batch=2, shots=2)
    monkeypatch.setattr(model.segmenter, "decode", None)
    found = model(episode)
    query = model.encode_query(episode.query_images)
    drawn = model.head.decoder(found, query)
    assert drawn.logits.shape == (4, 4, 4)
    changed = model.head.decoder(replace(found, prompts=-found.prompts), query)
    assert not torch.allclose(changed.logits, drawn.logits)
    cells = model.head.decoder.cells(
        torch.cat([query.embedding.image, query.value_share.unflatten(2, (4, 4))], 1)
    )
    naive = [
        [[sum(p * x for p, x in zip(token, cell, strict=True)) / C**0.5 for cell in row.T]
         for row in cells[1].movedim(1, 0)]
        for token in found.prompts[1, 0]
    ]  # fmt: skip
    stack = torch.cat([cells[1], torch.tensor(naive), found.pseudo_masks[1, :1]])
    close(drawn.logits[2], model.head.decoder.draw(stack[None])[0, 0])


@pytest.mark.parametrize(
    "other",
    [
        {"mask_prompt": True},
        {"contrast_share": 0.5},
        {"matching": "pixel", "features": "F", "pseudo_mask": "conventional"},
    ],
)
def test_a_plain_decoder_stands_alone(other):
    with pytest.raises(FcpError, match="plain_decoder: expected false with matching 'pixel'"):
        HeadConfig(plain_decoder=True, **other)


def test_training_leaves_the_encoders_as_they_are():
    model = make_model().train()
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    model(make_episode())
    assert model.head.training
    assert not model.backbone.training
    assert not model.segmenter.training
    assert all(torch.equal(v, before[k]) for k, v in model.backbone.state_dict().items())


def test_nothing_is_detached_from_the_pseudo_masks():
    """The first step's tokens learn from the last step's guidance."""
    model = make_model(steps=2)
    output = model(make_episode())
    (gradient,) = torch.autograd.grad(
        output.attention_masks[0, 0, 0, 1, 1], model.head.query.tokens
    )
    assert gradient.abs().sum() > 0


def test_mask_prompt_is_the_last_attention_mask_as_logits():
    model, episode = make_model(mask_prompt=True), make_episode(shots=2)
    output = model(episode)
    given = model.segmenter.mask_prompt
    expected = output.attention_masks[0, :, -1].clamp(1e-3, 1 - 1e-3)
    assert given.shape == (2, 1, 4, 4)
    close(given[:, 0].sigmoid(), expected)
    model(make_episode())
    assert make_model()(episode).mask_logits.shape == (1, SIZE, SIZE)


def test_without_the_switch_the_decoder_gets_no_mask_prompt():
    model = make_model()
    model(make_episode())
    assert model.segmenter.mask_prompt is None


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_agrees(dtype, bound):
    """Logits, relative to their spread; and the loss."""
    model, episode = make_model(), make_episode(batch=2, shots=2)
    target = (torch.rand(2, SIZE, SIZE) > 0.5).float()
    query = model.encode_query(episode.query_images)
    support = model.encode_support(episode.support_images, episode.support_masks)
    exact = model.match(support, query, with_maps=True)
    with torch.autocast("cpu", dtype=dtype):
        query = model.encode_query(episode.query_images)
        support = model.encode_support(episode.support_images, episode.support_masks)
        rough = model.match(support, query, with_maps=True)
        loss = Criterion()(rough, target)["total"]
    assert rough.mask_logits.dtype == torch.float32
    spread = exact.mask_logits.std()
    assert (rough.mask_logits - exact.mask_logits).abs().max() < bound * 4 * spread
    assert abs(loss - Criterion()(exact, target)["total"]) < bound


def test_a_width_that_is_not_the_segmenters_is_refused():
    config = ModelConfig(head=HeadConfig(width=16), image_size=SIZE)
    with pytest.raises(FcpError, match=r"head\.width: is 16"):
        FCP(config, StubBackbone(), StubSegmenter())


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
