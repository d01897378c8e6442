"""Folds planned and run by the Python door, against each run scored by itself."""

import json
import shutil
from pathlib import Path

import pytest

from fcp.data.episodes import episodes_hash, sample_episodes, save_episodes
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError
from fcp.evaluation.episode_counts import EpisodeDraw
from fcp.evaluation.evaluate import evaluate
from fcp.evaluation.predictor import FCPPredictor
from fcp.evaluation.report import to_json
from fcp.evaluation.run import DrawnEpisodes, EpisodeFile, evaluate_folds, plan_folds
from fcp.evaluation.tested import load_predictor
from fcp.features.cache import FeatureCache
from fcp.method.names import parse_name
from fcp.models.checkpoint import load_model


@pytest.fixture
def data(mini_voc):
    return PascalVOC(mini_voc)


def test_two_folds_with_their_cards(data, model_folder):
    asked = DrawnEpisodes(episodes=3, seeds=(4, 5))
    plan = plan_folds(data, [0, 2], model_folder, episodes=asked, device="cpu")
    assert list(plan.cards) == [
        EpisodeDraw(0, 4),
        EpisodeDraw(0, 5),
        EpisodeDraw(2, 4),
        EpisodeDraw(2, 5),
    ]
    result = evaluate_folds(plan)
    assert result.counts.ids == plan.episode_ids
    report = to_json(result, plan.cards)
    model = load_model(model_folder)
    for (run, card), told in zip(plan.cards.items(), report["runs"], strict=True):
        episodes = sample_episodes(val_lists(data, run.fold), shots=1, episodes=3, seed=run.seed)
        alone = evaluate(FCPPredictor(model), data, episodes, image_size=64)
        assert told["miou"] == alone.square.miou
        assert told["protocol"]["episode_sha256"] == card.episode_sha256 == episodes_hash(episodes)
        assert (card.fold, card.seed, card.shots) == (run.fold, run.seed, 1)


def test_shots_and_fusion_are_those_of_the_cards(data, model_folder):
    scores = {}
    for fusion in ("mean", "pooled"):
        asked = DrawnEpisodes(shots=3, episodes=2)
        plan = plan_folds(data, [1], model_folder, episodes=asked, fusion=fusion, device="cpu")
        assert plan.cards[EpisodeDraw(1, 0)].shots == 3
        (fold,) = plan.folds
        predictor = FCPPredictor(load_model(model_folder), fusion=fusion)
        alone = evaluate(predictor, data, fold.runs[EpisodeDraw(1, 0)], image_size=64)
        scores[fusion] = evaluate_folds(plan).pseudo_masks
        assert scores[fusion] == alone.pseudo_masks
    assert scores["mean"] != scores["pooled"]


def test_each_fold_may_have_its_model_and_neighbours_share_one(
    data, model_folder, tmp_path, monkeypatch
):
    for fold in (0, 1):
        shutil.copytree(model_folder, tmp_path / f"m{fold}")
        (tmp_path / f"m{fold}/recipe.json").write_text(json.dumps({"fold": 0}))
    loaded = []

    def load(folder, **how):
        loaded.append(Path(folder).name)
        return load_predictor(folder, **how)

    monkeypatch.setattr("fcp.evaluation.tested.load_predictor", load)
    asked = DrawnEpisodes(episodes=1)
    plan = plan_folds(data, [0, 1], str(tmp_path / "m{fold}"), episodes=asked, device="cpu")
    evaluate_folds(plan)
    assert loaded == ["m0", "m1"]
    assert list(plan.seen_in_training) == [1]  # the model of fold 0 had the classes of fold 1
    assert "bus" in plan.seen_in_training[1]
    evaluate_folds(plan_folds(data, [1, 0], tmp_path / "m0", episodes=asked, device="cpu"))
    assert loaded[2:] == ["m0"]


def test_progress_counts_the_episodes_of_a_fold_and_a_store_keeps_features(
    data, model_folder, tmp_path
):
    steps = []
    asked = DrawnEpisodes(episodes=2)
    plan = plan_folds(data, [0, 3], model_folder, episodes=asked, device="cpu", stored=True)
    store = FeatureCache(tmp_path / "features", 1 << 24)
    evaluate_folds(plan, store=store, progress=lambda *step: steps.append(step))
    assert steps == [(fold, done, 2) for fold in (0, 3) for done in (0, 1, 2)]
    assert any((tmp_path / "features").rglob("*.safetensors"))
    assert {card.precision for card in plan.cards.values()} == {
        "float32, features stored as float16"
    }
    plain = plan_folds(data, [0], model_folder, episodes=asked, device="cpu")
    assert plain.cards[EpisodeDraw(0, 0)].precision == "float32"
    for one, given in ((plain, store), (plan, None)):
        with pytest.raises(FcpError, match=rf"plan_folds\(stored={given is not None}\)"):
            evaluate_folds(one, store=given)


def test_a_file_asks_what_was_drawn(data, model_folder, tmp_path):
    drawn = plan_folds(
        data, [0], model_folder, episodes=DrawnEpisodes(shots=2, episodes=4, seeds=[8])
    )
    ((run, specs),) = drawn.folds[0].runs.items()
    digest = save_episodes(tmp_path / "e.json", specs)
    read = plan_folds(data, [0], model_folder, episodes=EpisodeFile(tmp_path / "e.json"))
    assert read.folds[0].runs == {EpisodeDraw(0): specs}
    card = read.cards[EpisodeDraw(0)]
    assert (card.seed, card.shots, card.episode_sha256) == (None, 2, digest)
    assert card.sampler == card.list_rule == "as the episode file has them"
    assert drawn.cards[run].episode_sha256 == digest


def test_what_cannot_be_run_is_refused_before_a_model_is_loaded(data, model_folder, tmp_path):
    save_episodes(
        tmp_path / "e.json", sample_episodes(val_lists(data, 0), shots=2, episodes=2, seed=0)
    )
    file = EpisodeFile(tmp_path / "e.json")
    for folds, episodes, message in (
        ([], DrawnEpisodes(), "folds: expected different ones, at least one"),
        ([1, 1], DrawnEpisodes(), r"at least one; got \[1, 1\]"),
        ([None], DrawnEpisodes(), "has folds; name some of 0, 1, 2, 3"),
        ([4], DrawnEpisodes(), "fold: expected 0 … 3"),
        ([1], DrawnEpisodes(shots=9), "fold 1: class 'bus': 9 supports are asked"),
        ([0, 1], file, "e.json: holds the episodes of one fold"),
        ([1], file, "entry 0 .* is none that fold 1 of PASCAL-5i"),
        ([0], EpisodeFile(file.path, shots=1), "2 supports, expected 1"),
    ):
        with pytest.raises(FcpError, match=message):
            plan_folds(data, folds, model_folder, episodes=episodes)
    with pytest.raises(FcpError, match="no such model folder"):
        plan_folds(data, [0], tmp_path / "none", episodes=DrawnEpisodes(episodes=1))


def test_cards_name_the_device_that_the_plan_runs_on_and_what_plain_free_stands_for(
    data, model_folder, monkeypatch
):
    asked, used = DrawnEpisodes(episodes=1), []
    monkeypatch.setattr(
        "fcp.evaluation.run.open_predictor",
        lambda folder, **how: used.append((folder, how["device"])) or FCPPredictor(own),
    )
    own = load_model(model_folder)
    choices = iter(["free:persam", "free:insid3"])  # memory that shrinks in between
    monkeypatch.setattr(
        "fcp.models.free.choose_default", lambda *_: (parse_name(next(choices)), "")
    )
    plan = plan_folds(data, [0], "free", episodes=asked, device="cpu")
    evaluate_folds(plan)
    (card,) = plan.cards.values()
    assert used == [("free:persam+sam-vit-huge", "cpu")]
    assert (card.method, card.device) == used[0]
