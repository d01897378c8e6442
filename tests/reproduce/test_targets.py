"""Each table and figure from nothing to its files, on small data."""

import csv
import shlex
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fcp.encoders.efficientnet_lite import build_efficientnet_lite
from fcp.errors import FcpError
from fcp.evaluation.report import NO_LISTS
from fcp.reproduce import targets
from fcp.reproduce.evaluations import load_evaluations
from fcp.reproduce.plan import SCALES
from fcp.reproduce.recipes import Workplace
from fcp.reproduce.results import collect
from fcp.reproduce.settings import is_place
from fcp.reproduce.targets import plan, protocol_note, reproduce
from fcp.system.files import sha256_of


@pytest.fixture(scope="module")
def place(mini_voc, toy_recipes, tmp_path_factory):
    """One place for all targets, since they share their trainings.

    The recipes' backbone is exchanged for one that is measured before training, by settings alone.
    """
    out, root = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("root")
    (root / "VOC2012").symlink_to(mini_voc / "VOC2012")
    (root / "BSDS500/images/train").mkdir(parents=True)
    Image.effect_noise((64, 48), 90).convert("RGB").save(root / "BSDS500/images/train/1.jpg")
    torch.manual_seed(0)
    weights = build_efficientnet_lite(None, size=0, standardise=False).state_dict()
    save_file(weights, root / "lite0.safetensors")
    settings = (
        "model.backbone.name=efficientnet_lite",
        "model.backbone.options={size: 0, standardise: true}",
        f"backbone_weights={root / 'lite0.safetensors'}",
    )
    return Workplace(root, out, toy_recipes, promptable=toy_recipes, settings=settings, episodes=6)


def make(target, place, folds=(1,)):
    return reproduce(target, SCALES["tiny"], place, report=lambda _: None, folds=folds)


def alike(wanted, place, *, report):
    """Take the first FCP's result for every row."""
    fcp = next(experiment for experiment in wanted if experiment.row == "FCP")
    found = collect([fcp], place, report=report)
    return [replace(one, experiment=experiment) for experiment in wanted for one in found]


@pytest.mark.parametrize(
    ("target", "rows"), [("table1", 26 + 12), ("table2", 7), ("table3", 3), ("table4", 4)]
)
def test_tables_are_written_with_their_protocol(place, tmp_path, monkeypatch, target, rows):
    if target != "table3":  # one training serves all rows: the tests need not wait
        monkeypatch.setattr(targets, "collect", alike)
    if target == "table1":  # whose methods keep the recipes' backbone
        place = replace(place, out=tmp_path, settings=())
    markdown, table, counts = make(target, place)
    assert (markdown.name, table.name) == (f"{target}.md", f"{target}.csv")
    _, wanted = plan(target, SCALES["tiny"], place, folds=(1,))
    names = {f"{one.name}-{shots}shot" for one in wanted for shots in one.shots}
    assert set(load_evaluations(counts)) == names
    assert len(list(csv.reader(table.open(encoding="utf-8")))) == 1 + rows
    text = markdown.read_text("utf-8")
    assert "## Protocol" in text
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("    fcp ")]
    asked = "--scale tiny --data-root DATA --out OUT --fold 1 --episodes 6 --only"
    common = ["fcp", "reproduce", target, *asked.split()]
    settings = [one for one in place.settings if not is_place(one)]
    cells = dict.fromkeys(one.cell for one in wanted)
    assert commands == [[*common, cell, *settings] for cell in cells]
    assert "minutes" in text
    assert "95 %" in text
    assert "- fold 1, 1-shot: training filtered, fold 1 of pascal5i; episodes sha256 " in text
    assert "…, list sha256 " in text


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("fig1", {"fig1a.png", "fig1b.png", "fig1-fcp.csv", "fig1-vrp-sam.csv"}),
        ("fig2", {"fig2.png", "fig2.csv"}),
        ("fig4", {"fig4-fold1.png"}),
        ("fig5", {"fig5.png", "fig5.csv", "fig5.npz"}),
    ],
)
def test_figures_are_drawn_with_their_numbers_and_protocol(place, target, names):
    files = make(target, place)
    assert {file.name for file in files} == names | {f"{target}.md"}
    for file in files:
        if file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")
        elif file.suffix == ".csv":
            assert len(file.read_text("utf-8").splitlines()) > 1
    text = (place.out / f"{target}.md").read_text("utf-8")
    assert "- data set: PASCAL-5i" in text
    assert "training filtered, fold 1 of pascal5i" in text


def test_a_figure_measures_the_model_that_base_classes_chose(place, tmp_path):
    place = replace(place, out=tmp_path)
    make("fig2", place)
    run = tmp_path / "runs/pascal5i-tiny-fcp-fold1-seed0"
    (run / "best").mkdir()
    shutil.copy(run / "config.json", run / "best")
    weights = load_file(run / "model.safetensors")
    earlier = {n: t / 2 if t.is_floating_point() else t for n, t in weights.items()}
    save_file(earlier, run / "best/model.safetensors")
    make("fig2", place)
    chosen = sha256_of(run / "best/model.safetensors")
    assert f"- checkpoint sha256: {chosen}" in (tmp_path / "fig2.md").read_text("utf-8")


def test_a_backbone_is_exchanged_by_settings_and_its_levels_standardised(place):
    make("table3", place)
    held = load_file(place.out / "runs/pascal5i-tiny-fcp-fold1-seed0/model.safetensors")
    given = load_file(place.data_root / "lite0.safetensors")
    assert all(held[f"backbone.{name}"].equal(tensor) for name, tensor in given.items())
    assert (held["backbone.mid_std"] > 0).all()
    assert not held["backbone.mid_std"].allclose(torch.ones(()))


def test_folds_may_come_one_by_one_and_end_in_one_table(place):
    make("table3", place, (2,))
    make("table3", place, (1, 2))
    assert "Mean of folds 1, 2;" in (place.out / "table3.md").read_text("utf-8")


def test_the_protocol_names_what_differs():
    facts = {"training_lists": "filtered, fold 1", "data_set": "PASCAL-5i", "fold": 1}
    one = {**facts, "shots": 1, "episode_sha256": "a" * 64, "checkpoint_sha256": "x"}
    five = {**facts, "shots": 5, "episode_sha256": "b" * 64, "checkpoint_sha256": "y"}
    lines = protocol_note([one, five, one]).splitlines()
    assert lines.count("- data set: PASCAL-5i") == 1
    assert [line for line in lines if "checkpoint" in line] == [
        "- checkpoint sha256: x",
        "- checkpoint sha256: y",
    ]
    free = {**one, "training_lists": NO_LISTS}
    assert protocol_note([free, one, five]).splitlines()[-2:] == lines[-2:]
    assert f"1-shot: training {NO_LISTS}; episodes" in protocol_note([free])
    assert [line[:16] for line in lines[-2:]] == ["- fold 1, 1-shot", "- fold 1, 5-shot"]
    listed = protocol_note([one, {**one, "list_sha256": "c" * 64}]).splitlines()[-1]
    assert listed == f"{lines[-2]}, list sha256 {'c' * 16}…"


def test_cells_come_one_by_one_and_end_in_one_table(place, tmp_path):
    place = replace(place, out=tmp_path, settings=())

    def rows(only):
        reproduce("table1", SCALES["tiny"], place, report=quiet, folds=(1,), seeds=1, only=only)
        with (tmp_path / "table1.csv").open(encoding="utf-8") as file:
            return {row[1] for row in list(csv.reader(file))[1:]}

    def quiet(_):
        pass

    assert rows("pascal5i-tiny/FCP") == {"FCP"}
    assert rows("pascal5i-tiny/pfenet") == {"FCP", "PFENet", "FCP − PFENet"}
    with pytest.raises(FcpError, match="pascal5i-tiny/XYZ: no such cell; choose one of"):
        rows("pascal5i-tiny/XYZ")
    with pytest.raises(FcpError, match="--only: fig1 is drawn of all its rows; leave it out"):
        reproduce("fig1", SCALES["tiny"], place, report=quiet, only="pascal5i-tiny")


@pytest.mark.parametrize("target", ["table1", "fig1", "fig5"])
def test_missing_data_are_named(place, tmp_path, target):
    empty = Workplace(tmp_path / "nowhere", tmp_path / "out", place.recipes)
    with pytest.raises(FcpError, match="nowhere"):
        make(target, empty)


def test_a_wrong_fold_is_refused_before_anything_is_written(place, tmp_path):
    other = Workplace(place.data_root, tmp_path / "out", place.recipes)
    with pytest.raises(FcpError, match="table2 is made of folds 1, 3, got 0"):
        make("table2", other, (0,))
    assert not (tmp_path / "out").exists()
