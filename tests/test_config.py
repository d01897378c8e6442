"""Configuration: every check, the round trip through plain values, files and overrides."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fcp.checks import from_dict, to_dict
from fcp.config import (
    BackboneConfig,
    FeatureSource,
    HeadConfig,
    LossWeights,
    Matching,
    ModelConfig,
    PseudoMask,
    SegmenterConfig,
)
from fcp.errors import FcpError


@st.composite
def head_configs(draw: st.DrawFn) -> HeadConfig:
    """Draw any head that can be built; pixel matching and the mask prompt exclude some switches."""
    heads, steps = draw(st.integers(1, 8)), draw(st.integers(1, 9))
    matching = draw(st.sampled_from(get_args(Matching)))
    is_pixel = matching == "pixel"
    features = ("F", "G") if is_pixel else get_args(FeatureSource)
    pseudo_mask = draw(st.sampled_from(("conventional",) if is_pixel else get_args(PseudoMask)))
    has_attention_mask = pseudo_mask == "attention" and steps > 1
    dropouts = ("attention_dropout", "matching_dropout", "feature_dropout")
    return HeadConfig(
        width=4 * heads * draw(st.integers(1, 16)),
        tokens=draw(st.integers(1, 200)),
        steps=steps,
        heads=heads,
        features=draw(st.sampled_from(features)),
        matching=matching,
        pseudo_mask=pseudo_mask,
        refresh_guidance=draw(st.booleans()),
        mask_prompt=has_attention_mask and draw(st.booleans()),
        contrast_levels=draw(st.lists(st.integers(1, 512), max_size=4)),
        contrast_share=draw(st.floats(0, 1)),
        maps_after_dropout=draw(st.booleans()),
        **{name: draw(st.floats(0, 1, exclude_max=True)) for name in dropouts},
    )


def encoder_configs(kind: type) -> st.SearchStrategy[Any]:
    """Any backbone or segmenter entry, with options as JSON can hold them."""
    value = st.one_of(st.booleans(), st.integers(-99, 99), st.text(max_size=5), st.none())
    return st.builds(
        kind,
        name=st.text(min_size=1, max_size=8),
        weights=st.none() | st.text(max_size=8),
        options=st.dictionaries(st.text(max_size=5), value, max_size=3),
    )


def model_configs() -> st.SearchStrategy[ModelConfig]:
    """Any model."""
    return st.builds(
        ModelConfig,
        head=head_configs(),
        backbone=encoder_configs(BackboneConfig),
        segmenter=encoder_configs(SegmenterConfig),
        image_size=st.integers(32, 2048),
    )


def test_defaults_are_the_papers() -> None:
    head, weights = HeadConfig(), LossWeights()
    assert (head.width, head.tokens, head.steps, head.heads) == (256, 50, 3, 4)
    assert (head.features, head.matching, head.pseudo_mask) == ("F+G", "prototype", "attention")
    assert (weights.prompt, weights.guide, weights.ortho) == (1.0, 0.5, 0.05)
    assert ModelConfig().image_size == 512


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (HeadConfig, "width", 0),
        (HeadConfig, "width", -4),
        (HeadConfig, "width", 254),
        (HeadConfig, "width", 256.0),
        (HeadConfig, "width", "256"),
        (HeadConfig, "heads", 0),
        (HeadConfig, "heads", 3),
        (HeadConfig, "heads", True),
        (HeadConfig, "tokens", 0),
        (HeadConfig, "tokens", 2.5),
        (HeadConfig, "steps", 0),
        (HeadConfig, "steps", None),
        (HeadConfig, "features", "F+G+H"),
        (HeadConfig, "features", 1),
        (HeadConfig, "matching", "Pixel"),
        (HeadConfig, "pseudo_mask", ""),
        (HeadConfig, "refresh_guidance", "yes"),
        (HeadConfig, "mask_prompt", 1),
        (HeadConfig, "maps_after_dropout", None),
        (HeadConfig, "contrast_levels", [32, 0]),
        (HeadConfig, "contrast_levels", 32),
        (HeadConfig, "contrast_share", 1.1),
        (HeadConfig, "contrast_share", float("nan")),
        (HeadConfig, "attention_dropout", 1.0),
        (HeadConfig, "attention_dropout", -0.1),
        (HeadConfig, "matching_dropout", float("nan")),
        (HeadConfig, "feature_dropout", True),
        (BackboneConfig, "name", 50),
        (BackboneConfig, "weights", Path("weights")),
        (BackboneConfig, "options", ["stem"]),
        (SegmenterConfig, "name", None),
        (SegmenterConfig, "weights", 1),
        (SegmenterConfig, "options", None),
        (ModelConfig, "head", {"tokens": 10}),
        (ModelConfig, "backbone", "resnet50"),
        (ModelConfig, "segmenter", None),
        (ModelConfig, "image_size", 31),
        (ModelConfig, "image_size", 512.0),
        (LossWeights, "prompt", -1.0),
        (LossWeights, "guide", "0.5"),
        (LossWeights, "ortho", float("nan")),
    ],
)
def test_bad_value_is_refused_by_name(kind: type, name: str, value: object) -> None:
    with pytest.raises(FcpError, match=f"^{name}: expected .*{re.escape(repr(value))}"):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"matching": "pixel"}, "features"),
        ({"matching": "pixel", "features": "F"}, "pseudo_mask"),
        ({"mask_prompt": True, "steps": 1}, "mask_prompt"),
        ({"mask_prompt": True, "pseudo_mask": "conventional"}, "mask_prompt"),
    ],
)
def test_switches_that_exclude_each_other(values: dict[str, Any], name: str) -> None:
    with pytest.raises(FcpError, match=f"^{name}: expected "):
        HeadConfig(**values)


def test_the_baseline_can_be_built() -> None:
    config = HeadConfig(matching="pixel", features="F", pseudo_mask="conventional")
    assert config.matching == "pixel"


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (HeadConfig, "width", 4),
        (HeadConfig, "heads", 1),
        (HeadConfig, "tokens", 1),
        (HeadConfig, "steps", 1),
        (HeadConfig, "attention_dropout", 0),
        (ModelConfig, "image_size", 32),
        (LossWeights, "ortho", 0),
    ],
)
def test_boundary_is_accepted(kind: type, name: str, value: object) -> None:
    assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize("kind", [HeadConfig, BackboneConfig, ModelConfig, LossWeights])
def test_configuration_cannot_change(kind: type) -> None:
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), name, 1)


@given(config=model_configs())
def test_round_trip_through_json_and_yaml(config: ModelConfig) -> None:
    plain = to_dict(config)
    assert from_dict(ModelConfig, plain) == config
    assert from_dict(ModelConfig, json.loads(json.dumps(plain))) == config
    assert from_dict(ModelConfig, yaml.safe_load(yaml.safe_dump(plain))) == config


def test_what_is_left_out_takes_the_default() -> None:
    config = from_dict(ModelConfig, {"head": {"tokens": 10}, "image_size": 320})
    assert config == ModelConfig(head=HeadConfig(tokens=10), image_size=320)


@given(name=st.text(max_size=12), value=st.integers())
def test_unknown_setting_is_refused(name: str, value: int) -> None:
    if name not in to_dict(HeadConfig()):
        with pytest.raises(FcpError, match=r"unknown setting .*known: attention_dropout, "):
            from_dict(HeadConfig, {name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": {"token": 3}}, r"recipe\.yaml\.head: unknown setting 'token'; known: .*tokens"),
        ({"head": {"tokens": 0}}, r"recipe\.yaml\.head: tokens: expected at least 1, got 0"),
        ({"head": [1]}, r"recipe\.yaml\.head: expected a mapping of settings, got \[1\]"),
        ({"head": None}, r"recipe\.yaml\.head: expected a mapping of settings, got None"),
        ({"image_size": 8}, r"recipe\.yaml: image_size: expected at least 32, got 8"),
        ({1: 2, "size": 3}, r"recipe\.yaml: unknown setting 1; known: "),
        ("head", r"recipe\.yaml: expected a mapping of settings, got 'head'"),
    ],
)
def test_error_says_where_it_is(values: Any, message: str) -> None:
    with pytest.raises(FcpError, match=f"^{message}"):
        from_dict(ModelConfig, values, where="recipe.yaml")
