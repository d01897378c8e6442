"""The report carries every key and a complete card."""

import hashlib
import json
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image

from fcp.data.benchmarks import BENCHMARKS
from fcp.data.class_folders import ClassFolders
from fcp.data.coco import Coco
from fcp.data.folds import PASCAL_CLASSES, PASCAL_IN_COCO
from fcp.data.lists import val_lists, write_lists
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError
from fcp.evaluation.bootstrap import compare
from fcp.evaluation.episode_counts import EpisodeCounts, EpisodeDraw, EpisodeId
from fcp.evaluation.evaluate import EvaluationResult
from fcp.evaluation.report import (
    ProtocolCard,
    code_version,
    make_card,
    to_json,
    training_lists,
    write_report,
)
from fcp.evaluation.seen import UNKNOWN_TRAINING, seen_in_training


class FewClassesOfCoco:
    """Fold 0 tests the first two of three classes, fold 1 the last."""

    classes = {5: "airplane", 25: "giraffe", 2: "bicycle"}  # noqa: RUF012

    def novel(self, fold):
        return () if fold is None else [(5, 25), (2,)][fold]

    def base(self, fold):
        return tuple(class_id for class_id in self.classes if class_id not in self.novel(fold))


def card_of(data, folder, run):
    return make_card(
        data, run, shots=5, episode_sha256="e" * 64, model_folder=folder, sampler="by dice"
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text('{"format": "fcp-1"}')
    return tmp_path


@pytest.fixture
def result():
    counts = np.array([[3, 1, 0, 6]])
    kinds = {"mask": counts, "original": counts, "attention": counts}
    table = EpisodeCounts((EpisodeId(EpisodeDraw(1, 3), "0", "q", "cat"),), kinds)
    return EvaluationResult(table, seconds=2.5)


def test_report_has_its_keys_and_its_card(folder, shapes, result):
    run = EpisodeDraw(1, 3)
    write_report(folder / "r.json", result, {run: card_of(shapes, folder, run)})
    report = json.loads((folder / "r.json").read_text())
    assert report["miou"] == 0.75
    assert report["miou_interval"] == [0.75, 0.75]
    assert report["fb_iou"] == pytest.approx((0.75 + 6 / 7) / 2)
    assert report["class_iou"] == {"cat": 0.75}
    assert report["mean_episode_iou"] == 0.75
    assert report["episodes"] == 1
    assert report["seconds"] == 2.5
    assert report["resolution_original"]["miou"] == 0.75
    assert report["pseudo_masks"]["attention"]["recall"] == 1
    assert report["pseudo_masks"]["attention"]["miou_interval"] == [0.75, 0.75]
    assert {"runs", "comparison", "miou_spread"}.isdisjoint(report)
    assert set(report["protocol"]) == {field.name for field in fields(ProtocolCard)}
    assert report["protocol"]["checkpoint_sha256"] == hashlib.sha256(b"weights").hexdigest()
    for name, value in {"fold": 1, "shots": 5, "seed": 3, "episode_sha256": "e" * 64}.items():
        assert report["protocol"][name] == value
    assert all(value not in ("", None) for value in report["protocol"].values())


def test_card_is_the_data_sets(folder, shapes):
    card = card_of(shapes, folder, EpisodeDraw(None, 0))
    assert (card.data_set, card.pool, card.fold) == ("Shapes", "none", None)
    assert card.sampler == "by dice"
    assert "at least 10 px" in card.list_rule
    from_file = card_of(shapes, folder, EpisodeDraw(None))
    assert from_file.seed is None
    assert from_file.list_rule == from_file.sampler == "as the episode file has them"
    assert from_file.list_sha256 == "as the episode file has them"


def test_the_hash_of_the_list_is_that_of_the_written_one(folder, shapes, tmp_path, monkeypatch):
    listed = tmp_path / "list.txt"
    listed.write_bytes(write_lists(val_lists(shapes, 1)))
    card = card_of(shapes, folder, EpisodeDraw(1, 0))
    assert card.list_sha256 == hashlib.sha256(listed.read_bytes()).hexdigest()
    assert card_of(shapes, folder, EpisodeDraw(1, 7)).list_sha256 == card.list_sha256
    one_less = dict([*shapes.areas("val").items()][1:])
    monkeypatch.setattr(type(shapes), "areas", lambda _, split: one_less)
    assert card_of(shapes, folder, EpisodeDraw(1, 0)).list_sha256 != card.list_sha256


def test_several_runs_have_their_mean_spread_and_reports(folder, shapes, make_table):
    runs = [EpisodeDraw(fold, seed) for fold in (0, 1) for seed in (4, 5)]
    table = make_table(runs)
    cards = {run: card_of(shapes, folder, run) for run in runs}
    report = to_json(EvaluationResult(table, seconds=1), cards)
    mious = [table.take(rows).scores("mask").miou for rows in table.runs().values()]
    assert [run["miou"] for run in report["runs"]] == pytest.approx(mious)
    assert [run["episodes"] for run in report["runs"]] == [30] * 4
    assert report["episodes"] == 120
    assert report["miou"] == pytest.approx(np.mean(mious))
    assert report["miou_interval"][0] < report["miou"] < report["miou_interval"][1]
    folds, seeds = np.reshape(mious, (2, 2)).mean(axis=1), np.reshape(mious, (2, 2)).mean(axis=0)
    assert report["miou_by_fold"] == pytest.approx({"0": folds[0], "1": folds[1]})
    assert report["miou_by_seed"] == pytest.approx({"4": seeds[0], "5": seeds[1]})
    assert report["miou_spread"] == pytest.approx(np.std(seeds, ddof=1))
    card = report["protocol"]
    assert (card["fold"], card["seed"], card["shots"]) == ([0, 1], [4, 5], 5)
    assert report["runs"][2]["protocol"]["fold"] == 1
    one_seed = to_json(
        EvaluationResult(make_table(runs[::2]), seconds=1), {run: cards[run] for run in runs[::2]}
    )
    assert one_seed["miou_spread"] is None


def test_comparison_is_in_the_report(folder, shapes, result):
    cards = {EpisodeDraw(1, 3): card_of(shapes, folder, EpisodeDraw(1, 3))}
    report = to_json(result, cards, compare(result.counts, result.counts))
    assert report["comparison"] == {
        "miou_difference": 0,
        "miou_difference_interval": (0, 0),
        "episodes": 1,
    }


def test_a_model_without_weights_is_named(folder, shapes):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FcpError, match=r"model\.safetensors: cannot be read"):
        card_of(shapes, folder, EpisodeDraw(0, 0))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ('{"fold": 3}', "filtered, fold 3 of pascal5i"),
        ('{"fold": 3, "unfiltered": true}', "unfiltered, fold 3 of pascal5i"),
        ('{"fold": 3, "benchmark": "coco20i"}', "filtered, fold 3 of coco20i"),
        ('{"fold": null}', "all classes of pascal5i"),
        ('{"fold": null, "shares": {"voc": 1}}', "all classes of pascal5i and objects"),
        ('{"fold": 1, "shares": {"voc": 1}}', "filtered, fold 1 of pascal5i and objects"),
        (None, "unknown"),
    ],
)
def test_the_card_says_what_the_model_was_trained_on(folder, shapes, recipe, said):
    if recipe is not None:
        (folder / "recipe.json").write_text(recipe)
    assert card_of(shapes, folder, EpisodeDraw(3, 0)).training_lists == said


@pytest.mark.parametrize("unfiltered", [False, True])
@pytest.mark.parametrize("place", ["run", "run/best"])
def test_the_card_says_what_a_base_learner_was_shown(tmp_path, mini_voc, unfiltered, place):
    (tmp_path / place).mkdir(parents=True)
    learner = {"fold": 1, "unfiltered": unfiltered}
    (tmp_path / "run/recipe.json").write_text('{"fold": 1, "unfiltered": false}')
    (tmp_path / "run/base_learner.json").write_text(json.dumps(learner))
    more = "; its base learner unfiltered" if unfiltered else ""
    assert training_lists(tmp_path / place) == f"filtered, fold 1 of pascal5i{more}"
    seen = seen_in_training(PascalVOC(mini_voc), 1, tmp_path / place)
    assert seen.endswith(", as background") == unfiltered


@pytest.mark.parametrize(("fold", "said"), [(1, "filtered, fold 1"), (None, "all classes")])
@pytest.mark.parametrize("place", ["run", "run/best"])
def test_the_card_says_that_nothing_is_known_of_a_base_learner(
    tmp_path, mini_voc, place, fold, said
):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "run/recipe.json").write_text(json.dumps({"fold": fold, "unfiltered": False}))
    (tmp_path / "run/base_learner.json").write_text(json.dumps(UNKNOWN_TRAINING))
    lists = training_lists(tmp_path / place)
    assert lists == f"{said} of pascal5i; of its base learner nothing is known"
    seen = seen_in_training(PascalVOC(mini_voc), 1, tmp_path / place)
    of_all = "bus, car, cat, chair, cow, unknown of its base learner"
    assert seen == (of_all if fold is None else "unknown")


@pytest.fixture
def open_small(mini_voc, tmp_path, monkeypatch):
    """Return a function that opens a small data set of a kind."""
    monkeypatch.setitem(BENCHMARKS, "coco20i", FewClassesOfCoco)
    for kind in ("images", "masks"):
        (tmp_path / "classes/cat" / kind).mkdir(parents=True)
        Image.new("L", (8, 8), 255).save(tmp_path / "classes/cat" / kind / "1.png")
    places = {PascalVOC: (mini_voc,), ClassFolders: (tmp_path / "classes",), FewClassesOfCoco: ()}
    return lambda kind: kind(*places[kind])


@pytest.mark.parametrize(
    ("data", "fold", "recipe", "seen"),
    [
        (PascalVOC, 1, {"fold": 1}, "none of the tested classes"),
        (PascalVOC, 1, {"fold": None}, "bus, car, cat, chair, cow"),
        (PascalVOC, 1, {}, "bus, car, cat, chair, cow"),
        (PascalVOC, 2, {"fold": 1}, "diningtable, dog, horse, motorbike, person"),
        (PascalVOC, 1, None, "unknown"),
        (PascalVOC, 1, {"fold": 1, "benchmark": "fss1000"}, "unknown"),
        (PascalVOC, 1, {"fold": None, "benchmark": "coco20i"}, "bus, car, cat, chair, cow"),
        (PascalVOC, 1, {"fold": 1, "benchmark": "coco20i"}, "unknown"),
        (
            PascalVOC,
            1,
            {"fold": 1, "unfiltered": True},
            "none of the tested classes, but pictures that show them, as background",
        ),
        (ClassFolders, None, {"fold": None, "benchmark": "folder"}, "unknown"),
        (FewClassesOfCoco, 0, {"fold": 0, "benchmark": "coco20i"}, "none of the tested classes"),
        (FewClassesOfCoco, 0, {"fold": 1, "benchmark": "coco20i"}, "airplane, giraffe"),
        (FewClassesOfCoco, 0, {"fold": None}, "airplane"),
        (FewClassesOfCoco, 0, {"fold": 0}, "none of the tested classes"),
        (FewClassesOfCoco, 0, {"fold": 0, "shares": {"voc": 1.0}}, "unknown"),
        (FewClassesOfCoco, 0, {"fold": None, "shares": {"voc": 1.0}}, "airplane"),
    ],
)
def test_the_card_says_which_tested_classes_the_training_had(
    folder, open_small, data, fold, recipe, seen
):
    if recipe is not None:
        (folder / "recipe.json").write_text(json.dumps(recipe))
    assert seen_in_training(open_small(data), fold, folder) == seen


def test_voc_classes_have_their_names_in_coco(data_root):
    names = set(Coco(data_root).classes.values())
    assert {PASCAL_IN_COCO.get(name, name) for name in PASCAL_CLASSES} <= names
    assert names.isdisjoint(PASCAL_IN_COCO)


def test_code_version_is_stable():
    assert code_version() == code_version()
    assert "+src." in code_version()
