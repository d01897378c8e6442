"""The benchmark of methods without training on small encoders: what is asked, and its report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fcp.data.pascal import PascalVOC
from fcp.evaluation.run import DrawnEpisodes

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)  # it shares code with another script
    spec = importlib.util.spec_from_file_location("benchmark_free_small", FOLDER / "free_small.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_the_first_picture_of_each_category_is_asked_first(benchmark, monkeypatch, tmp_path):
    def shown(name: str, count: int) -> list[tuple[Path, np.ndarray]]:
        paths = [tmp_path / f"{name}{i}.png" for i in range(count)]
        for shade, path in enumerate(paths):
            Image.new("RGB", (30, 20), (10 * shade,) * 3).save(path)
        return [(path, np.full((20, 30), bool(i % 2))) for i, path in enumerate(paths)]

    found = {"fork": shown("fork", 2), "kite": shown("kite", 3), "sink": shown("sink", 1)}
    monkeypatch.setattr(benchmark, "novel_pictures", lambda root: found)
    tasks = list(benchmark.coco_tasks(tmp_path, side=16, shots=1, queries=9))
    assert [task.category for task in tasks] == ["fork", "kite", "fork", "kite", "kite"]
    shades = [(255 * task.images[:, 0, 0, 0]).round().tolist() for task in tasks]
    assert shades == [[0, 10], [0, 10], [10, 0], [10, 20], [20, 0]]
    assert [task.masks[0].mean() for task in tasks] == [0, 0, 1, 1, 0]
    assert len(list(benchmark.coco_tasks(tmp_path, side=16, shots=1, queries=1))) == 2


def test_a_fold_is_asked_as_by_fcp_evaluate(benchmark, mini_voc):
    tasks = list(benchmark.fold_tasks(mini_voc, 0, side=32, shots=1, queries=4))
    data = PascalVOC(mini_voc)
    drawn = next(iter(DrawnEpisodes(shots=1, episodes=4).runs(data, 0).values()))
    for task, episode in zip(tasks, drawn, strict=True):
        assert task.category == data.classes[episode.class_id]
        share = data.class_mask(episode.query, episode.class_id).mean()
        assert float(task.masks[0].mean()) == pytest.approx(share, abs=0.1)
        assert task.images.shape == (2, 3, 32, 32)


def test_scores_pool_by_category_and_leave_out_unknown_pixels(benchmark):
    def task(category: str, truth: torch.Tensor, known: torch.Tensor) -> object:
        return benchmark.Task(category, torch.rand(2, 3, 4, 4), torch.stack([truth, truth]), known)

    everywhere, half = torch.ones(4, 4, dtype=torch.bool), torch.zeros(4, 4)
    half[:2] = 1
    tasks = [
        task("fork", half, everywhere),  # IoU of everything: 8 / 16
        task("fork", torch.ones(4, 4), everywhere),  # 16 / 16; pooled 24 / 32
        task("kite", half, half > 0),  # 8 / 8
    ]
    methods = {
        "everything": lambda episode: SimpleNamespace(mask_logits=torch.ones(1, 4, 4)),
        "nothing": lambda episode: SimpleNamespace(mask_logits=-torch.ones(1, 4, 4)),
    }
    report = benchmark.summarise(*benchmark.score(methods, iter(tasks)))
    assert report["everything"]["miou"] == pytest.approx(100 * (24 / 32 + 1) / 2, abs=0.05)
    assert report["nothing"]["miou"] == 0
    difference, low, high = report["nothing"]["minus"]["everything"]
    assert difference == pytest.approx(-87.5)
    assert low <= difference <= high < 0
    assert report["everything"]["minus"] == {}


def test_methods_share_the_cells_of_a_picture(benchmark, model_folder):
    model = benchmark.load_model(model_folder).eval()
    shared = benchmark.SharedCells(model)
    seen = []
    model.backbone.register_forward_hook(lambda *call: seen.append(call))
    names = ("contrast", "insid3", "insid3:released")
    methods = {name: benchmark.build(name, model, shared) for name in names}
    side = model.config.image_size
    mask = torch.zeros(2, side, side)
    mask[:, side // 4 : -side // 4, side // 4 : -side // 4] = 1
    known = torch.ones(side, side, dtype=torch.bool)
    task = benchmark.Task("fork", torch.rand(2, 3, side, side), mask, known)
    report = benchmark.summarise(*benchmark.score(methods, iter([task])))
    assert len(seen) == 2 + 2  # the pictures, and INSID3's two blank ones
    assert [0 <= report[name]["miou"] <= 100 for name in names] == [True] * 3
