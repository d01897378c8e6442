"""PerSAM's guided decoder against the blocks written out, with the models' own weights."""

from __future__ import annotations

import pytest
import torch

from fcp.config import SegmenterConfig
from fcp.encoders import build_segmenter
from fcp.encoders.guided import Guidance, guided

FAMILY = ["sam", "sam_hq", "sam2"]


@pytest.fixture
def make(sam_configs, randomise):
    def build(name):
        options = {"config": sam_configs[name]}
        segmenter = build_segmenter(SegmenterConfig(name, options=options))
        randomise(segmenter)
        return segmenter.eval()

    return build


def attend(layer, query, key, value, bias=None):
    """One head after the other: softmax(QKᵀ/√d), and with a bias softmax(that + a)."""
    width = layer.q_proj.out_features // layer.num_attention_heads
    joined = []
    for head in range(layer.num_attention_heads):
        own = slice(head * width, (head + 1) * width)
        q, k, v = (
            project(x)[:, own]
            for project, x in ((layer.q_proj, query), (layer.k_proj, key), (layer.v_proj, value))
        )
        weights = (q @ k.T / width**0.5).softmax(1)
        if bias is not None:
            weights = (weights + bias).softmax(1)
        joined.append(weights @ v)
    out = layer.out_proj if hasattr(layer, "out_proj") else layer.o_proj
    return out(torch.cat(joined, 1))


def naive_transformer(transformer, tokens, image, position, guidance):
    """Return tokens and cells of one picture, block by block."""
    keys, keys_at = image.flatten(1).T, position.flatten(1).T
    e, a = guidance.target[0], guidance.bias[0]
    at = tokens + e if guidance.released else tokens
    queries = tokens
    for number, block in enumerate(transformer.layers):
        queries = queries + e
        if number == 0:
            queries = attend(block.self_attn, queries, queries, queries)
        else:
            queries = queries + attend(block.self_attn, queries + at, queries + at, queries)
        queries = block.layer_norm1(queries)
        cross = block.cross_attn_token_to_image
        queries = queries + attend(cross, queries + at, keys + keys_at, keys, a)
        queries = block.layer_norm2(queries)
        queries = block.layer_norm3(queries + block.mlp(queries))
        back = block.cross_attn_image_to_token
        keys = block.layer_norm4(keys + attend(back, keys + keys_at, queries + at, queries))
    last = transformer.final_attn_token_to_image
    queries = queries + attend(last, queries + at + e, keys + keys_at, keys)
    return transformer.layer_norm_final_attn(queries), keys


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("released", [True, False])
@torch.no_grad()
def test_transformer_is_the_papers_with_or_without_the_slip(make, name, released):
    decoder = make(name).model.mask_decoder
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(6, 16, generator=generator)
    image, position = torch.randn(2, 16, 4, 5, generator=generator)
    bias, target = torch.rand(1, 20, generator=generator), torch.randn(1, 16, generator=generator)
    guidance = Guidance(bias, target, released)
    found, cells = guided(decoder, guidance).transformer(
        point_embeddings=tokens[None, None],
        image_embeddings=image[None],
        image_positional_embeddings=position[None],
    )
    expected, expected_cells = naive_transformer(
        decoder.transformer, tokens, image, position, guidance
    )
    torch.testing.assert_close(found[0, 0], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(cells[0, 0], expected_cells, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [*FAMILY, "tiny"])
@torch.no_grad()
def test_guidance_changes_a_decoding_and_leaves_the_decoder(make, images, name):
    if name == "tiny":
        options = {"width": 16, "image_size": 64, "decoder_width": 16}
        segmenter = build_segmenter(SegmenterConfig(name, options=options)).eval()
    else:
        segmenter = make(name)
    embedding = segmenter.encode(images)
    cells = embedding.image[0, 0].numel()
    prompts, _ = segmenter.embed_prompts(points=torch.rand(2, 1, 2))
    before = segmenter.decode_candidates(embedding, prompts, multimask=False)
    names = list(segmenter.state_dict())
    results = [
        segmenter.decode_candidates(
            embedding,
            prompts,
            multimask=False,
            guidance=Guidance(torch.rand(2, cells), torch.randn(2, 16), released),
        )[0]
        for released in (True, False)
    ]
    after = segmenter.decode_candidates(embedding, prompts, multimask=False)
    assert torch.equal(before[0], after[0])
    assert list(segmenter.state_dict()) == names
    assert all(found.shape == before[0].shape for found in results)
    assert not any(torch.allclose(found, before[0]) for found in results)
