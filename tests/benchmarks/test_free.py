"""The benchmark of the methods without training, on toy architectures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent.parent.parent / "benchmarks/free.py"
TOY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_free", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    backbone = {"model_type": "dinov2", **TOY, "patch_size": 64, "image_size": 512}
    for name in ("dinov2-large", "dinov3-vitl16"):
        monkeypatch.setitem(module.BACKBONES, name, backbone)
    tiny = {"width": 16, "image_size": 64, "decoder_width": 16}
    original = module.build_segmenter
    monkeypatch.setattr(
        module,
        "build_segmenter",
        lambda config: original(type(config)("tiny", options=tiny)),
    )
    return module


@pytest.mark.parametrize("name", ["insid3", "persam"])
def test_report(benchmark, capsys, name):
    benchmark.main([f"free:{name}"])
    report = json.loads(capsys.readouterr().out)
    assert report["model"].startswith(f"free:{name}+")
    assert report["peak_GiB"] > 0
    assert report["match_s"] >= 0


def test_unknown_architectures_are_named(benchmark):
    with pytest.raises(SystemExit, match="sam-vit-large: no architecture here; known: dinov3"):
        benchmark.main(["free:persam+sam-vit-large"])
