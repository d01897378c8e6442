"""The head's benchmark at toy size: its plain version gives the head's outputs."""

import importlib.util
from pathlib import Path

import pytest
import torch

from fcp.config import HeadConfig
from fcp.head import FCPHead

FILE = Path(__file__).parent.parent / "benchmarks" / "head.py"


@pytest.mark.parametrize(("shots", "queries"), [(1, 1), (3, 1), (1, 4)])
def test_plain_version_agrees(shots, queries, monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_head", FILE)
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "benchmark_head", benchmark)
    spec.loader.exec_module(benchmark)
    sizes = {"GRID": 8, "IMAGE": 64, "MID_CHANNELS": 12, "HIGH_CHANNELS": 16}
    for name, value in sizes.items():
        monkeypatch.setattr(benchmark, name, value)
    torch.manual_seed(0)
    head = FCPHead(HeadConfig(), 12).eval()
    case = benchmark.make_case("toy", 1.0, shots, queries)
    row = benchmark.measure(head, case, 1)
    assert row["difference"] < 1e-4
    assert set(row) == {"case", "plain_s", "ours_s", "ratio", "asked", "difference"}
