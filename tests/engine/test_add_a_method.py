"""The method that docs/training.md adds, run as a stranger would: trained, then evaluated."""

import re
import runpy
from pathlib import Path

import torch

from fcp.data.benchmarks import open_benchmark
from fcp.evaluation.run import DrawnEpisodes, evaluate_folds, plan_folds
from fcp.method.trained import TRAINED
from fcp.models.trained import load_trained

PAGE = Path(__file__).parents[2] / "docs/training.md"


def test_the_page_adds_a_method_that_trains_and_evaluates(mini_voc, tmp_path, monkeypatch):
    _, section = PAGE.read_text("utf-8").split("## Add a method\n")
    (code,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    (tmp_path / "data").symlink_to(mini_voc)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TRAINED, "means", None)  # forgotten after the test
    (tmp_path / "stranger.py").write_text(code)
    runpy.run_path(str(tmp_path / "stranger.py"))

    loaded = load_trained(Path("runs/means"))
    assert type(loaded.model).__name__ == "Means"
    masks = torch.zeros(1, 1, 96, 96)
    masks[..., :40] = 1
    pictures = torch.rand(1, 3, 96, 96)
    support = loaded.model.encode_support(pictures[None], masks)
    found = loaded.model.match(support, loaded.model.encode_query(pictures))
    assert found.mask_logits.shape == (1, 96, 96)

    data = open_benchmark("pascal5i", mini_voc)
    asked = DrawnEpisodes(episodes=2)
    plan = plan_folds(data, [0], Path("runs/means"), episodes=asked, device="cpu")
    (card,) = plan.cards.values()
    assert (card.method, card.released, card.device) == ("means", "does not apply", "cpu")
    assert card.training_lists == "filtered, fold 0 of pascal5i"
    assert 0 <= evaluate_folds(plan).square.miou <= 1
