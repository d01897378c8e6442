"""The names behind ``--model free:…``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fcp.errors import FcpError
from fcp.method.names import CHOICES, DEFAULTS, FreeName, choose_default, is_free, parse_name


@pytest.mark.parametrize(
    ("name", "method", "backbone", "segmenter"),
    [
        ("free", "gf-sam", "facebook/dinov2-large", "facebook/sam-vit-huge"),
        ("free:insid3", "insid3", "facebook/dinov3-vitl16-pretrain-lvd1689m", None),
        (
            "free:insid3+dinov3-vits16plus",
            "insid3",
            "facebook/dinov3-vits16plus-pretrain-lvd1689m",
            None,
        ),
        (
            "free:gf-sam+dinov2-large+sam2.1-hiera-large",
            "gf-sam",
            "facebook/dinov2-large",
            "facebook/sam2.1-hiera-large",
        ),
        ("free:gf-sam+sam-vit-base", "gf-sam", "facebook/dinov2-large", "facebook/sam-vit-base"),
        ("free:persam-f", "persam-f", None, "facebook/sam-vit-huge"),
        ("free:persam+sam_vit_b.pth", "persam", None, "sam_vit_b.pth"),
        ("free:matcher+me/vit+../my/sam", "matcher", "me/vit", "../my/sam"),
        (
            "free:matcher+sam-hq-vit-base+me/vit",
            "matcher",
            "me/vit",
            "syscv-community/sam-hq-vit-base",
        ),
    ],
)
def test_names_are_read(name, method, backbone, segmenter):
    assert is_free(name)
    found = parse_name(name)
    assert found == FreeName(method, backbone, segmenter)
    assert parse_name(str(found)) == found


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("small", "no method without training; such names start with free:"),
        ("free:sam", "no method 'sam'; there are insid3, gf-sam, persam, persam-f, matcher"),
        ("free:insid3+dinov4", r"unknown part 'dinov4'; backbones: dinov3-vits16, .*dinov2-giant"),
        ("free:persam+dinov2", "unknown part 'dinov2'; segmenters: sam-vit-base"),
        (
            "free:persam+dinov2-base",
            "'dinov2-base' is one backbone too many; this method takes one segmenter",
        ),
        (
            "free:insid3+dinov2-base+me/vit",
            "'me/vit' is one part too many; this method takes no more",
        ),
        ("free:insid3+dinov2-base+vit", "unknown part 'vit'; no more parts"),
    ],
)
def test_what_is_wrong_is_said(name, complaint):
    with pytest.raises(FcpError, match=complaint) as error:
        parse_name(name)
    assert str(error.value).startswith(f"{name}: ")
    assert "\n" not in str(error.value)


def test_a_folder_here_is_a_part_and_a_short_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("vit", "dinov2-base"):
        (tmp_path / folder).mkdir()
    assert parse_name("free:insid3+vit").backbone == "vit"
    assert parse_name("free:insid3+dinov2-base").backbone == "facebook/dinov2-base"
    with pytest.raises(FcpError, match="unknown part ''"):
        parse_name("free:insid3+")


def test_default_is_what_fits_and_is_there():
    def nothing(_: str) -> bool:
        return False

    big, line = choose_default(64, nothing)
    assert str(big) == next(iter(CHOICES))
    small, quick = choose_default(2, nothing)
    assert str(small) == "free:gf-sam+dinov2-small+sam2.1-hiera-tiny"
    assert quick == f"{small}: the best that fits 2 GiB; it is fetched once"
    once = f"{big}: the best that fits 64 GiB; it is fetched once"
    assert line == f"{once}; without a GPU a photo takes minutes, and {small} is quicker"
    gated, line = choose_default(64, lambda part: "dinov3" in part)
    assert gated.method == "insid3"
    assert "weights are on this machine" in line
    assert choose_default(7, nothing)[0].method == "gf-sam"  # never the gated one by itself


def test_choices_are_names():
    assert all(str(parse_name(choice)) == choice for choice in CHOICES)
    assert all(str(parse_name(f"free:{method}")) == str(name) for method, name in DEFAULTS.items())


def test_missing_weights_are_told_before_torch_is_loaded(tmp_path):
    code = f"""
import os, sys
os.environ["HF_HOME"] = {str(tmp_path)!r}
from fcp.errors import FcpError
from fcp.method.registry import load_method
try:
    load_method("free:gf-sam")
except FcpError as error:
    print(error)
print({{"torch", "transformers"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told, heavy = done.stdout.splitlines()
    assert told.startswith("facebook/dinov2-large: not on this machine, and HF_HUB_OFFLINE")
    assert heavy == "set()"
