"""The report carries every key and a complete card."""

import hashlib
import json
from dataclasses import fields

import pytest

from fcp.errors import FcpError
from fcp.evaluation.evaluate import EvaluationResult
from fcp.evaluation.metrics import Counts, ScoreBoard
from fcp.evaluation.report import ProtocolCard, code_version, make_card, write_report


@pytest.fixture
def result():
    board = ScoreBoard()
    board.add("cat", Counts(tp=3, fp=1, fn=0, tn=6))
    scores = board.compute()
    return EvaluationResult(
        square=scores, original=scores, pseudo_masks={"attention": scores}, episodes=1, seconds=2.5
    )


def test_report_has_its_keys_and_its_card(tmp_path, result):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    card = make_card(fold=1, shots=5, seed=3, episode_sha256="e" * 64, model_folder=tmp_path)
    write_report(tmp_path / "r.json", result, card)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["miou"] == 0.75
    assert report["fb_iou"] == pytest.approx((0.75 + 6 / 7) / 2)
    assert report["class_iou"] == {"cat": 0.75}
    assert report["mean_episode_iou"] == 0.75
    assert report["episodes"] == 1
    assert report["seconds"] == 2.5
    assert report["resolution_original"]["miou"] == 0.75
    assert report["pseudo_masks"]["attention"]["recall"] == 1
    assert set(report["protocol"]) == {field.name for field in fields(ProtocolCard)}
    assert report["protocol"]["checkpoint_sha256"] == hashlib.sha256(b"weights").hexdigest()
    for name, value in {"fold": 1, "shots": 5, "seed": 3, "episode_sha256": "e" * 64}.items():
        assert report["protocol"][name] == value
    assert all(value not in ("", None) for value in report["protocol"].values())


def test_a_model_without_weights_is_named(tmp_path):
    with pytest.raises(FcpError, match=r"model\.safetensors: cannot be read"):
        make_card(fold=0, shots=1, seed=0, episode_sha256="", model_folder=tmp_path)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [('{"fold": 3}', "filtered, fold 3"), ('{"fold": null}', "all classes"), (None, "unknown")],
)
def test_the_card_says_what_the_model_was_trained_on(tmp_path, recipe, said):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    if recipe is not None:
        (tmp_path / "recipe.json").write_text(recipe)
    card = make_card(fold=3, shots=1, seed=0, episode_sha256="", model_folder=tmp_path)
    assert card.training_lists == said


def test_code_version_is_stable():
    assert code_version() == code_version()
    assert "+src." in code_version()
