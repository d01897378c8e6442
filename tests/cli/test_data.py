"""`fcp data` and `fcp episodes` from the command line: what they say and how they end."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.data.episodes import load_episodes
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.system.files import sha256_of


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        for kind in ("images", "masks"):
            (tmp_path / "own" / name / kind).mkdir(parents=True)
        for number in range(3):
            mask = Image.fromarray(np.full((9, 9), 255, np.uint8))
            mask.convert("RGB").save(tmp_path / "own" / name / f"images/{number}.jpg")
            mask.save(tmp_path / "own" / name / f"masks/{number}.png")
    return tmp_path / "own"


def test_check_as_table_and_as_json(mini_voc):
    table = run("data", "check", mini_voc)
    assert table.exit_code == 0, table.output
    assert "the pool has 44 pictures" in table.stdout
    assert "coco20i: not here: no COCO/; get train2014.zip" in table.stdout
    shown = run("data", "check", "--data-root", mini_voc, "--json").stdout
    found = json.loads(shown)["pascal5i"]
    assert found["splits"]["train"]["pictures"] == 44
    assert found["expected"]["val"] == [364, 445, 592, 336]
    assert str(found["rules"]["val"][0]) in table.stdout


def test_check_of_something_missing_ends_with_status_1(mini_voc, tmp_path):
    shutil.copytree(mini_voc, tmp_path / "data")
    PascalVOC(tmp_path / "data").mask_path("val_01_0").unlink()
    done = run("data", "check", "--data-root", tmp_path / "data")
    assert done.exit_code == 1
    assert "1 file missing" in done.stdout


def test_check_of_an_empty_folder_says_where_to_get_data(tmp_path, monkeypatch):
    monkeypatch.delenv("FCP_DATA_ROOT", raising=False)
    done = run("data", "check", tmp_path)
    assert done.exit_code == 1
    assert done.stdout.count("not here") == 5
    assert "bsds500: not here: no BSDS500/, of which promptable stages are trained" in done.stdout
    assert "no folder given" in run("data", "check").stderr
    assert "no such folder" in run("data", "check", tmp_path / "gone").stderr


def test_lists(mini_voc, tmp_path):
    out = tmp_path / "list.txt"
    fixed = ("data", "lists", "--data-root", mini_voc, "--fold", 0, "--out", out)
    assert run(*fixed, "--split", "train").exit_code == 0
    filtered = out.read_text().splitlines()
    assert run(*fixed, "--split", "train", "--unfiltered").exit_code == 0
    extra = set(out.read_text().splitlines()) - set(filtered)
    assert extra == {"train_mixed\t6"}
    assert run(*fixed, "--split", "val", "--unfiltered").exit_code == 1


def test_pool_is_passed_on(mini_voc, tmp_path):
    (tmp_path / "pool.txt").write_text("train_06_1\ntrain_06_0\n")
    fixed = ("data", "lists", "--data-root", mini_voc, "--fold", 0, "--split", "train")
    assert run(*fixed, "--pool", tmp_path / "pool.txt", "--out", tmp_path / "l").exit_code == 0
    assert (tmp_path / "l").read_text() == "train_06_1\t6\ntrain_06_0\t6\n"
    gone = run(*fixed, "--pool", tmp_path / "gone.txt", "--out", tmp_path / "l")
    assert "gone.txt: cannot be read" in gone.stderr
    val = run(*fixed[:-1], "val", "--pool", tmp_path / "pool.txt", "--out", tmp_path / "l")
    assert "--pool: is of training pictures; leave it out for val" in val.stderr


def test_fss1000_ends_well_and_with_problems(tmp_path):
    source = tmp_path / "fss"
    for name in ("bus", "zebra"):
        (source / name).mkdir(parents=True)
        for number in range(1, 11):
            Image.new("RGB", (9, 9), "white").save(source / name / f"{number}.jpg")
            Image.new("L", (9, 9), 255).save(source / name / f"{number}.png")
    out = tmp_path / "out"
    done = run("data", "fss1000", source, "--out", out)
    assert done.exit_code == 0, done.output
    assert "needs at most" in done.stdout
    assert "20 pictures ready" in done.stdout
    checked = run("data", "check", "--benchmark", "fss1000", "--data-root", out)
    assert "train/val/test classes: 0/1/1" in checked.stdout
    (source / "bus/3.png").unlink()
    shutil.rmtree(out)
    done = run("data", "fss1000", source, "--out", out)
    assert done.exit_code == 1
    assert "bus/3.png: no such mask" in done.stderr
    assert "1 problem; the rest is done" in done.stderr


def test_broken_download_is_one_line(tmp_path):
    (tmp_path / "a.tgz").write_text("<html>")
    options = ("--voc", tmp_path / "a.tgz", "--sbd", tmp_path / "a.tgz", "--out", tmp_path / "o")
    done = run("data", "pascal", *options)
    assert done.exit_code == 1
    assert done.stderr.strip().endswith("no whole tar or zip archive; download it again")


def test_coco_needs_a_split_in_the_name(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    options = ("--images", tmp_path, "--annotations", tmp_path / "a.json", "--out", tmp_path)
    assert 'expected "train" or "val" in its name' in run("data", "coco", *options).stderr


def test_episodes_are_frozen_with_their_hash(mini_voc, tmp_path):
    out = tmp_path / "e.json"
    options = ("--fold", 1, "--shots", 2, "--episodes", 7, "--seed", 3, "--out", out)
    done = run("episodes", "--data-root", mini_voc, *options)
    assert done.exit_code == 0, done.output
    assert f"sha256 {sha256_of(out)}" in done.stdout
    assert "classic: query = row" in done.stdout
    assert len(load_episodes(out, PascalVOC(mini_voc))) == 7
    assert run("episodes", "--data-root", mini_voc, *options, "--sampler", "hsnet").exit_code == 0
    pairs = val_lists(PascalVOC(mini_voc), 1).pairs
    assert [(e.query, e.class_id) for e in load_episodes(out)] == list(pairs[:7])


def test_episodes_of_a_folder(folder, tmp_path):
    fixed = ("episodes", "--benchmark", "folder", "--data-root", folder, "--out", tmp_path / "e")
    assert run(*fixed, "--shots", 2).exit_code == 0
    few = run(*fixed, "--shots", 3)
    assert few.exit_code == 1
    assert "class 'cat': 3 supports are asked but only 2" in few.stderr
    smaller = tmp_path / "smaller"  # a process lists a folder once, so another one
    shutil.copytree(folder, smaller)
    (smaller / "cat/images/2.jpg").unlink()
    (smaller / "cat/masks/2.png").unlink()
    done = run(*fixed, "--data-root", smaller, "--shots", 2, "--drop-small-classes")
    assert "left out, fewer than 3 pictures: cat" in done.stdout
    assert {spec.class_id for spec in load_episodes(tmp_path / "e")} == {2}


def test_a_fold_without_episodes_and_no_fold(mini_voc, tmp_path):
    shutil.copytree(mini_voc, tmp_path / "data")
    (tmp_path / "data/VOC2012/ImageSets/Segmentation/val.txt").write_text("val_06_0\n")
    fixed = ("episodes", "--data-root", tmp_path / "data", "--out", tmp_path / "e")
    assert "no picture is listed" in run(*fixed, "--fold", 0).stderr
    assert "has folds; choose one of: 0, 1, 2, 3" in run(*fixed).stderr
    listed = run("data", "lists", *fixed[1:], "--split", "val")
    assert listed.exit_code == 1
    assert "has folds; choose one of: 0, 1, 2, 3" in listed.stderr
