"""The table of models against what it speaks of: architectures, names, the hub's cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf

from fcp.errors import FcpError
from fcp.method.names import BACKBONES, DEFAULTS, GATED, SEGMENTERS
from fcp.models.catalogue import WEIGHTS, find_facts, list_models
from fcp.models.loading import SHIPPED

# hidden size, layers, heads, gated feed-forward
DINOV2 = {
    "small": (384, 12, 6, False),
    "base": (768, 12, 12, False),
    "large": (1024, 24, 16, False),
    "giant": (1536, 40, 24, True),
}
# hidden size, layers, heads, width of the feed-forward, gated, biases of queries and values
DINOV3 = {
    "vits16": (384, 12, 6, 1536, False, True),
    "vits16plus": (384, 12, 6, 1536, True, True),
    "vitb16": (768, 12, 12, 3072, False, True),
    "vitl16": (1024, 24, 16, 4096, False, True),
    "vith16plus": (1280, 32, 20, 5120, True, True),
    "vit7b16": (4096, 40, 32, 8192, True, False),
}
SAM = {"base": (768, 12, 12), "large": (1024, 24, 16), "huge": (1280, 32, 16)}
# width, heads, blocks, side of the windows' position code
HIERA = {
    "tiny": (96, 1, [1, 2, 7, 2], 7),
    "small": (96, 1, [1, 2, 11, 2], 7),
    "base-plus": (112, 2, [2, 3, 16, 3], 14),
    "large": (144, 2, [2, 6, 36, 4], 7),
}
FILMS = 30.3  # MB of SAM 2.1 that only films need


def build_dinov2(size):
    width, layers, heads, is_gated = DINOV2[size]
    return hf.Dinov2Model(
        hf.Dinov2Config(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            use_swiglu_ffn=is_gated,
            image_size=518,
        )
    )


def build_dinov3(size):
    width, layers, heads, inner, is_gated, bias = DINOV3[size]
    return hf.DINOv3ViTModel(
        hf.DINOv3ViTConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=inner,
            use_gated_mlp=is_gated,
            num_register_tokens=4,
            query_bias=bias,
            value_bias=bias,
        )
    )


def vision(size):
    width, layers, heads = SAM[size]
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "mlp_dim": 4 * width,
        "global_attn_indexes": [layers * part // 4 - 1 for part in range(1, 5)],
    }


def build_sam(size):
    return hf.SamModel(hf.SamConfig(vision_config=vision(size)))


def build_sam_hq(size):
    decoder = {"vit_dim": SAM[size][0]}
    return hf.SamHQModel(hf.SamHQConfig(vision_config=vision(size), mask_decoder_config=decoder))


def build_sam2(size):
    width, heads, blocks, side = HIERA[size]
    widths = [width << stage for stage in range(4)]
    hiera = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": heads,
        "blocks_per_stage": blocks,
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads << stage for stage in range(4)],
        "window_positional_embedding_background_size": [side, side],
    }
    channels = widths[::-1]
    return hf.Sam2Model(
        hf.Sam2Config(vision_config={"backbone_config": hiera, "backbone_channel_list": channels})
    )


FAMILIES = (
    ("dinov2", BACKBONES, DINOV2, build_dinov2, 0),
    ("dinov3", BACKBONES, DINOV3, build_dinov3, 0),
    ("sam-vit", SEGMENTERS, SAM, build_sam, 0),
    ("sam-hq-vit", SEGMENTERS, SAM, build_sam_hq, 0),
    ("sam2.1-hiera", SEGMENTERS, HIERA, build_sam2, FILMS),
)


@pytest.mark.parametrize("family", FAMILIES, ids=[family[0] for family in FAMILIES])
def test_sizes_are_those_of_the_architectures(family):
    prefix, table, sizes, build, rest = family
    for size in sizes:
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in build(size).parameters())
        assert WEIGHTS[table[f"{prefix}-{size}"]].megabytes == pytest.approx(
            count * 4 / 1e6 + rest, abs=0.6
        )


def test_every_published_part_has_its_facts():
    assert set(WEIGHTS) == {*BACKBONES.values(), *SEGMENTERS.values()}


def test_the_list_has_what_ships_and_every_method():
    names = [facts.name for facts in list_models()]
    assert tuple(names[: len(SHIPPED)]) == SHIPPED
    assert {str(name) for name in DEFAULTS.values()} <= set(names)
    assert len(names) == len(set(names))


def test_what_is_gated_says_so():
    assert {facts.name for facts in list_models() if facts.gated} >= {GATED}
    gated = {w.hub_id for w in WEIGHTS.values() if w.gated}
    assert gated == {hub_id for name, hub_id in BACKBONES.items() if name.startswith("dinov3")}


def test_only_the_papers_own_parts_have_a_score():
    assert find_facts("free:insid3").scores == {"COCO-20i": 57.6}
    assert find_facts("free:insid3+dinov3-vits16").scores == {}


def test_a_combination_is_the_sum_of_its_parts():
    facts = find_facts("free:gf-sam+dinov2-base+sam2.1-hiera-tiny")
    assert facts.megabytes == 346 + 156
    assert facts.licences == ("Apache-2.0",)
    assert find_facts("free:insid3").licences == ("DINOv3 License",)


def test_shipped_models_need_nothing():
    for name in SHIPPED:
        facts = find_facts(name)
        assert facts.missing() == ()
        assert facts.megabytes == 0
        assert facts.shipped_megabytes > 5


def test_missing_weights_are_those_that_the_cache_lacks(tmp_path: Path):
    facts = find_facts("free:gf-sam+dinov2-base+sam2.1-hiera-tiny")
    assert [w.hub_id for w in facts.missing(tmp_path)] == [w.hub_id for w in facts.downloads]
    entry = tmp_path / "models--facebook--dinov2-base"
    for file in ("snapshots/abc/config.json", "snapshots/abc/model.safetensors", "refs/main"):
        (entry / file).parent.mkdir(parents=True, exist_ok=True)
        (entry / file).write_text("abc")
    assert [w.hub_id for w in facts.missing(tmp_path)] == ["facebook/sam2.1-hiera-tiny"]


@pytest.mark.parametrize("name", ["runs/mine", "free:gf-sam+me/dino", "free:nothing"])
def test_what_is_not_in_the_table_is_refused(name):
    with pytest.raises(FcpError, match=r"nothing is known|no method"):
        find_facts(name)
