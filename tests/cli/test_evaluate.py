"""`fcp evaluate` on a data set made for the test: the report's keys, and its reproducibility."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.data.episodes import sample_episodes, save_episodes
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.evaluation.episode_counts import load_counts
from fcp.evaluation.predictor import FCPPredictor


@pytest.fixture
def run(mini_voc, model_folder, tmp_path):
    def run(*more, name="report.json", root=mini_voc, fold=0):
        fixed = ["--data-root", root, "--model", model_folder, "--device", "cpu"]
        fixed += [] if fold is None else ["--fold", fold]
        arguments = ["evaluate", *fixed, "--out", tmp_path / name, *more]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def test_report_has_the_keys_and_is_reproducible(run, tmp_path):
    for name in ("first.json", "second.json"):
        done = run("--shots", 2, "--episodes", 6, "--seed", 3, name=name)
        assert done.exit_code == 0, done.output
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("first", "second"))
    assert {"miou", "fb_iou", "class_iou", "episodes", "protocol"} <= set(first)
    assert first["episodes"] == 6
    assert (first["protocol"]["fold"], first["protocol"]["shots"]) == (0, 2)
    assert first["protocol"]["seed"] == 3
    first.pop("seconds")
    second.pop("seconds")
    assert first == second
    assert f"mIoU {100 * first['miou']:.1f}" in done.stdout


def test_fusion_is_the_papers_unless_another_is_asked(run, tmp_path):
    for name, more in {"mean": (), "pooled": ("--fusion", "pooled")}.items():
        assert run("--shots", 3, "--episodes", 4, *more, name=f"{name}.json").exit_code == 0
    mean, pooled = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("mean", "pooled"))
    assert mean["protocol"]["fusion_rule"].startswith("mean of the K mask logits, foreground")
    assert pooled["protocol"]["fusion_rule"].startswith("the K supports as one")
    assert mean["pseudo_masks"] != pooled["pseudo_masks"]
    assert run("--fusion", "median").exit_code == 2


def test_data_root_comes_from_the_environment(run, mini_voc, model_folder, tmp_path):
    arguments = ["evaluate", "--fold", "0", "--model", str(model_folder), "--device", "cpu"]
    arguments += ["--episodes", "1", "--out", str(tmp_path / "r.json")]
    done = CliRunner().invoke(app, arguments, env={"FCP_DATA_ROOT": str(mini_voc)})
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"root": "nowhere"}, "nowhere"),
        ({"name": "no/folder/r.json"}, "make it first"),
        ({"name": ""}, "is a folder; name a file in it"),
    ],
)
def test_bad_places_are_refused(run, more, message):
    done = run("--episodes", 1, **more)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_read_is_never_overwritten(run, tmp_path, mini_voc):
    (tmp_path / "mine").write_bytes(b"frozen")
    (tmp_path / "link").symlink_to("mine")
    mine = tmp_path / "mine"
    asked = [
        (run, ("--episodes-file", mine), {"name": "mine"}),
        (run, ("--episodes-file", tmp_path / "link"), {"name": "mine"}),
        (run, ("--compare-with", mine), {"name": "mine"}),
        (run, ("--compare-with", mine, "--save-episode-scores", tmp_path / "./mine"), {}),
    ]
    lists = ["data", "lists", "--split", "train", "--data-root", mini_voc, "--fold", 0]
    arguments = [str(one) for one in (*lists, "--out", mine, "--pool", tmp_path / "link")]
    asked.append((lambda: CliRunner().invoke(app, arguments), (), {}))
    for ask, more, how in asked:
        done = ask(*more, **how)
        assert done.exit_code == 1, done.output
        assert "mine: is read, and would be overwritten; write to another file" in done.stderr
    assert mine.read_bytes() == b"frozen"
    done = run("--save-episode-scores", tmp_path / "report.json")
    assert "report.json: would be written twice; name two files" in done.stderr


def test_places_are_checked_before_the_episodes_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)  # root may write all
    monkeypatch.setattr(FCPPredictor, "__init__", lambda *_, **__: pytest.fail("already at work"))
    done = run("--episodes", 1)
    assert done.exit_code == 1
    assert "cannot be written; choose another folder" in done.stderr
    monkeypatch.undo()
    (tmp_path / "s").mkdir()
    done = run("--episodes", 1, "--save-episode-scores", tmp_path / "s")
    assert "s: is a folder; name a file in it" in done.stderr


def test_a_part_without_test_classes_is_named(run, tmp_path):
    (tmp_path / "data/FSS-1000/zebra").mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (9, 9)).save(tmp_path / f"data/FSS-1000/zebra/{number}.jpg")
        Image.new("L", (9, 9), 255).save(tmp_path / f"data/FSS-1000/zebra/{number}.png")
    done = run("--benchmark", "fss1000", root=tmp_path / "data", fold=None)
    assert done.exit_code == 1
    assert "no class to draw from is here" in done.stderr
    assert "--splits DIR" in done.stderr


def test_an_example_whose_mask_would_vanish_is_used(run, tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "data/dot" / kind).mkdir(parents=True)
    for copy in range(2):
        Image.new("RGB", (900, 700), (90, 9, copy)).save(tmp_path / f"data/dot/images/{copy}.png")
        mask = np.zeros((700, 900), np.uint8)
        mask[1, 1] = 255
        Image.fromarray(mask).save(tmp_path / f"data/dot/masks/{copy}.png")
    done = run("--benchmark", "folder", "--episodes", 2, root=tmp_path / "data", fold=None)
    assert done.exit_code == 0, done.output


def test_impossible_numbers_are_usage_errors(run):
    assert run("--shots", 0).exit_code == 2
    assert run("--seeds", 0).exit_code == 2
    assert run("--episodes", 0).exit_code == 2
    assert run("--benchmark", "cityscapes").exit_code == 2
    assert run("--sampler", "dice").exit_code == 2


@pytest.mark.parametrize(
    ("fold", "more", "message"),
    [
        ("0,4", (), " has the folds 0, 1, 2, 3, not 4"),
        ("every", (), "--fold: expected a number, several"),
        ("1,1", (), "names a fold twice"),
        (None, (), "has folds; choose one of"),
        (1, ("--shots", 9), "fold 1: class 'bus': 9 supports are asked"),
    ],
)
def test_impossible_wishes_are_refused(run, fold, more, message):
    done = run(*more, fold=fold)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_fold_without_pictures_is_named(run, mini_voc, tmp_path):
    shutil.copytree(mini_voc, tmp_path / "data")
    listed = tmp_path / "data/VOC2012/ImageSets/Segmentation/val.txt"
    listed.write_text("val_01_0\nval_01_1\n")
    done = run(root=tmp_path / "data", fold=2)
    assert done.exit_code == 1
    assert "fold 2: no picture is listed" in done.stderr


def test_folds_and_seeds_have_their_runs_and_their_mean(run, tmp_path):
    more = ("--episodes", 4, "--seeds", 2, "--seed", 3, "--save-episode-scores", tmp_path / "s.csv")
    done = run(*more, fold="0,2")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    cards = [single["protocol"] for single in report["runs"]]
    assert [(card["fold"], card["seed"]) for card in cards] == [(0, 3), (0, 4), (2, 3), (2, 4)]
    assert report["episodes"] == 16
    assert report["miou"] == pytest.approx(sum(single["miou"] for single in report["runs"]) / 4)
    assert set(report["miou_by_seed"]) == {"3", "4"}
    assert load_counts(tmp_path / "s.csv").scores("mask").miou == report["miou"]

    alone = run("--episodes", 4, "--seed", 4, fold=2, name="alone.json")
    assert alone.exit_code == 0, alone.output
    single = json.loads((tmp_path / "alone.json").read_text())
    assert single.pop("seconds") > 0
    assert single == report["runs"][3]


def test_each_fold_can_have_its_model(run, model_folder, tmp_path):
    for fold in (0, 2):
        shutil.copytree(model_folder, tmp_path / f"m{fold}")
        (tmp_path / f"m{fold}" / "recipe.json").write_text(json.dumps({"fold": fold}))
    done = run("--episodes", 2, "--model", tmp_path / "m{fold}", fold="0,2")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["protocol"]["training_lists"] == [
        "filtered, fold 0 of pascal5i",
        "filtered, fold 2 of pascal5i",
    ]


def test_a_model_that_was_trained_on_what_is_tested_is_told_loudly(run, model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "m")
    for trained, tested, told in (
        (0, "0", []),
        (0, "0,2", ["tested classes of fold 2 (diningtable, dog, horse, motorbike, person)"]),
        (None, "0", ["tested classes of fold 0 (aeroplane, bicycle, bird, boat, bottle)"]),
    ):
        (tmp_path / "m" / "recipe.json").write_text(json.dumps({"fold": trained}))
        done = run("--episodes", 1, "--model", tmp_path / "m", fold=tested)
        assert done.exit_code == 0, done.output
        lines = [line for line in done.stderr.splitlines() if "WARNING" in line]
        assert len(lines) == 2 * len(told)  # before the work and after it
        assert all(text in line for text, line in zip(2 * told, lines, strict=True))
    card = json.loads((tmp_path / "report.json").read_text())["protocol"]
    assert card["seen_in_training"] == "aeroplane, bicycle, bird, boat, bottle"


def test_without_a_recipe_only_the_card_says_unknown(run, tmp_path):
    done = run("--episodes", 1)
    assert "WARNING" not in done.output
    card = json.loads((tmp_path / "report.json").read_text())["protocol"]
    assert card["seen_in_training"] == "unknown"


def test_all_seeds_share_what_the_encoders_saw(run, monkeypatch):
    made = []
    original = FCPPredictor.__init__
    monkeypatch.setattr(
        FCPPredictor, "__init__", lambda self, *a, **k: made.append(self) or original(self, *a, **k)
    )
    assert run("--episodes", 2, "--seeds", 3, fold="0,2").exit_code == 0
    assert len(made) == 1


def freeze(mini_voc, file, fold=0, shots=2):
    lists = val_lists(PascalVOC(mini_voc), fold)
    return save_episodes(file, sample_episodes(lists, shots=shots, episodes=5, seed=8))


def test_an_episode_file_is_run_exactly(run, mini_voc, tmp_path):
    digest = freeze(mini_voc, tmp_path / "e.json")
    done = run("--episodes-file", tmp_path / "e.json", "--shots", 2)
    assert done.exit_code == 0, done.output
    from_file = json.loads((tmp_path / "report.json").read_text())
    assert from_file["protocol"]["episode_sha256"] == digest
    assert (from_file["protocol"]["shots"], from_file["protocol"]["seed"]) == (2, None)
    assert run("--shots", 2, "--episodes", 5, "--seed", 8, name="s.json").exit_code == 0
    drawn = json.loads((tmp_path / "s.json").read_text())
    assert drawn["protocol"]["episode_sha256"] == digest
    for name in ("miou", "miou_interval", "class_iou", "pseudo_masks", "resolution_original"):
        assert drawn[name] == from_file[name]


@pytest.mark.parametrize(
    ("fold", "more", "message"),
    [
        (0, ("--seed", 0), "--seed: .*e.json already defines the episodes"),
        (0, ("--seeds", 2), "--seeds: .*leave it out"),
        (0, ("--episodes", 5), "--episodes: .*leave it out"),
        (0, ("--sampler", "classic"), "--sampler: .*leave it out"),
        (0, ("--shots", 1), "entry 0 .*: 2 supports, expected 1"),
        (1, (), r"entry 0 .*: class \d \(.*\) is none that fold 1 of PASCAL-5i .* tests"),
        ("0,1", (), "the episodes of one fold"),
    ],
)
def test_an_episode_file_must_agree_with_the_rest(run, mini_voc, tmp_path, fold, more, message):
    freeze(mini_voc, tmp_path / "e.json")
    done = run("--episodes-file", tmp_path / "e.json", *more, fold=fold)
    assert done.exit_code == 1
    assert re.search(message, done.stderr)
    assert not (tmp_path / "report.json").exists()


def test_episodes_of_another_data_set_are_refused(run, mini_voc, tmp_path):
    freeze(mini_voc, tmp_path / "e.json")
    text = (tmp_path / "e.json").read_text()
    (tmp_path / "e.json").write_text(text.replace("val_01_2", "COCO_val2014_42"))
    done = run("--episodes-file", tmp_path / "e.json")
    assert done.exit_code == 1
    assert (
        "PASCAL-5i (VOC 2012, masks of VOC 2012 + SBD) has no picture 'COCO_val2014_42'"
        in done.stderr
    )


def test_plain_episode_files_are_run(run, tmp_path):
    plain = [["val_01_0", ["val_01_1"], "aeroplane"], ["val_02_0.jpg", ["val_02_1.jpg"], 2]]
    (tmp_path / "e.json").write_text(json.dumps(plain))
    done = run("--episodes-file", tmp_path / "e.json", "--save-episode-scores", tmp_path / "s.csv")
    assert done.exit_code == 0, done.output
    assert [episode.query for episode in load_counts(tmp_path / "s.csv").ids] == [
        "val_01_0",
        "val_02_0",
    ]
    (tmp_path / "e.json").write_text(json.dumps([["val_01_0", ["train_01_1"], 1]]))
    refused = run("--episodes-file", tmp_path / "e.json")
    assert "train_01_1 is no val picture" in refused.stderr


def test_all_folds_and_sampler(run, tmp_path):
    done = run("--episodes", 2, "--sampler", "hsnet", fold="all")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["protocol"]["fold"] == [0, 1, 2, 3]
    assert report["protocol"]["sampler"].startswith("hsnet: ")
    assert len(report["runs"]) == 4


def test_a_folder_of_classes_has_no_folds(run, tmp_path):
    generator = np.random.default_rng(0)
    for name in ("cup", "pen"):
        for kind in ("images", "masks"):
            (tmp_path / "data" / name / kind).mkdir(parents=True)
        for copy in range(3):
            photo = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(photo).save(tmp_path / "data" / name / "images" / f"{copy}.png")
            mask = np.zeros((40, 50), np.uint8)
            mask[5 + copy : 30] = 255
            Image.fromarray(mask).save(tmp_path / "data" / name / "masks" / f"{copy}.png")
    fixed = ("--benchmark", "folder", "--episodes", 4)
    done = run(*fixed, "--shots", 2, root=tmp_path / "data", fold=None)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["class_iou"]) == {"cup", "pen"}
    assert report["protocol"]["fold"] is None
    refused = run(*fixed, "--shots", 3, root=tmp_path / "data", fold=None)
    assert "all classes: class 'cup': 3 supports are asked" in refused.stderr
    assert run(*fixed, root=tmp_path / "data", fold=1).exit_code == 1


def test_two_models_are_compared_on_the_same_episodes(run, tmp_path):
    scores = ("--episodes", 6, "--save-episode-scores", tmp_path / "s.csv")
    assert run(*scores).exit_code == 0
    done = run("--episodes", 6, "--compare-with", tmp_path / "s.csv")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["comparison"]["miou_difference"] == 0
    assert "+0.0 (+0.0 … +0.0) against the other model" in done.stdout
    for more in (("--episodes", 7), ("--episodes", 6, "--seed", 1)):
        refused = run(*more, "--compare-with", tmp_path / "s.csv", name="no.json")
        assert refused.exit_code == 1
        assert "are not the other model's 6" in refused.stderr
        assert not (tmp_path / "no.json").exists()


def test_the_card_tells_of_stored_features(run, tmp_path):
    assert run("--episodes", 1, "--feature-cache", tmp_path / "features").exit_code == 0
    card = json.loads((tmp_path / "report.json").read_text())["protocol"]
    assert card["precision"] == "float32, features stored as float16"
