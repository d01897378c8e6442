"""Experiments whole on small data: what is there is not done again, nothing is mixed."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
from safetensors.torch import load_file

from fcp.engine import train_head as head_stage
from fcp.engine.train_segmenter import WEIGHTS
from fcp.errors import FcpError
from fcp.evaluation.evaluate import evaluate
from fcp.evaluation.method_predictor import MethodPredictor
from fcp.method.registry import build_on
from fcp.models.checkpoint import load_model
from fcp.reproduce import results as evaluating
from fcp.reproduce import run as training
from fcp.reproduce.evaluations import load_evaluations, save_evaluations
from fcp.reproduce.plan import SCALES, Experiment
from fcp.reproduce.recipes import Workplace, promptable_recipe, recipe_of
from fcp.reproduce.results import collect, keep, missing_shots
from fcp.reproduce.run import open_test, promptable_stage, settings_of, training_minutes
from fcp.reproduce.table1 import table1
from fcp.system.files import sha256_of

SETTING = SCALES["tiny"].settings[0]
FCP = Experiment(SETTING, "FCP", fold=1, seed=0, shots=(1, 5))
VRP = replace(FCP, row="VRP-SAM")
NAME = "pascal5i-tiny-fcp-fold1-seed0"


def quiet(_):
    """Take the place of a report."""


def fail(*_, **__):
    raise AssertionError("was run though all is there")


@pytest.fixture(scope="module")
def made(mini_voc, toy_recipes, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    place = Workplace(mini_voc, out, toy_recipes, promptable=toy_recipes, episodes=6)
    return place, collect([VRP, FCP], place, report=quiet)


@pytest.fixture
def place(made, tmp_path):
    """A copy to spoil."""
    shutil.copytree(made[0].out, tmp_path / "out")
    return replace(made[0], out=tmp_path / "out")


def test_results_have_scores_counts_minutes_and_card(made):
    _, results = made
    asked = [("VRP-SAM", 1), ("VRP-SAM", 5), ("FCP", 1), ("FCP", 5)]
    assert [(r.experiment.row, r.shots) for r in results] == asked
    vrp, fcp = results[0].found, results[2].found
    assert fcp.counts.ids == vrp.counts.ids
    assert fcp.report["miou"] == fcp.counts.scores("mask").miou
    assert fcp.report["miou_interval"][0] <= fcp.report["miou_interval"][1]
    assert fcp.report["protocol"]["training_lists"] == "filtered, fold 1 of pascal5i"
    assert fcp.minutes > 0
    assert fcp.encoders == vrp.encoders
    assert (
        fcp.report["protocol"]["checkpoint_sha256"] != vrp.report["protocol"]["checkpoint_sha256"]
    )


def test_a_shot_count_that_the_data_cannot_give_is_missing_with_its_reason(made):
    _, results = made
    missing = results[3].found
    assert (missing.report, missing.counts) == (None, None)
    table = table1(results)
    assert any("fold 1, 5-shot: class " in note and "5 supports" in note for note in table.notes)
    assert "--drop-small-classes" not in table.markdown()
    cells = next(row for row in table.rows if row[1:3] == ("FCP", "5"))
    assert set(cells[3:]) == {"–"}


def test_what_is_done_is_not_done_again_even_without_models(made, place, monkeypatch):
    shutil.rmtree(place.out / "runs")
    shutil.rmtree(place.out / "features")
    monkeypatch.setattr(training, "train", fail)
    monkeypatch.setattr(evaluating, "evaluate_folds", fail)
    again = collect([VRP, FCP], replace(place, data_root=place.out), report=quiet)
    assert table1(again) == table1(made[1])


def test_the_file_of_a_table_is_enough(made, place, monkeypatch):
    keep(made[1], place.out / "table1.npz")
    for folder in ("runs", "features", "results"):
        shutil.rmtree(place.out / folder)
    monkeypatch.setattr(training, "train", fail)
    monkeypatch.setattr(evaluating, "evaluate_folds", fail)
    again = collect([VRP, FCP], replace(place, data_root=place.out), report=quiet)
    assert table1(again) == table1(made[1])
    with pytest.raises(FcpError, match=rf"table1.npz, {NAME}-1shot: has 6 episodes, not 7"):
        collect([FCP], replace(place, episodes=7), report=quiet)


def test_what_a_table_is_not_asked_for_stays_in_its_file(made, tmp_path):
    file = tmp_path / "table1.npz"
    keep(made[1][:2], file)
    keep(made[1][2:], file)
    assert list(load_evaluations(file)) == sorted(result.name for result in made[1])


def test_two_processes_that_end_together_lose_no_evaluation(made, tmp_path):
    file = tmp_path / "table1.npz"
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: keep([one], file), made[1]))
    assert list(load_evaluations(file)) == sorted(result.name for result in made[1])


def test_a_later_evaluation_goes_before_that_of_the_tables_file(made, place):
    fcp = made[1][2]
    keep([replace(fcp, found=replace(fcp.found, minutes=7.5))], place.out / "table1.npz")
    assert collect([FCP], place, report=quiet)[0].found.minutes == fcp.found.minutes
    (place.out / "results" / f"{NAME}-1shot.npz").unlink()
    assert collect([FCP], place, report=quiet)[0].found.minutes == 7.5


def test_a_kill_between_training_and_evaluation_goes_on(made, place, monkeypatch):
    shutil.rmtree(place.out / "results")
    monkeypatch.setattr(training, "train", fail)
    again = collect([FCP], place, report=quiet)
    assert again[0].found.report["miou"] == made[1][2].found.report["miou"]
    assert again[0].found.minutes == made[1][2].found.minutes


def test_a_killed_training_goes_on_from_its_checkpoint(made, place, monkeypatch):
    shutil.rmtree(place.out / "results")
    (place.out / "runs" / NAME / "config.json").unlink()
    resumed = []
    monkeypatch.setattr(head_stage, "fit", lambda *_, resume, **__: resumed.append(resume) or None)
    collect([FCP], place, report=quiet)
    assert resumed == [True]


def test_other_settings_are_refused(place):
    other = replace(place, settings=("model.head.tokens=4",))
    with pytest.raises(FcpError, match=rf"{NAME}-1shot.npz, .* another recipe.model.head.tokens;"):
        collect([FCP], other, report=quiet)
    shutil.rmtree(place.out / "results")  # the model alone is not taken for another's either
    with pytest.raises(FcpError, match=rf"{NAME}: was made with another recipe.model.head.tokens;"):
        collect([FCP], other, report=quiet)


def test_where_weights_lie_is_no_setting(place, monkeypatch):
    monkeypatch.setattr(training, "train", fail)
    moved = replace(place, settings=("backbone_weights=elsewhere",))
    assert collect([FCP], moved, report=quiet)[0].found.report is not None


def test_another_number_of_episodes_is_refused(place):
    with pytest.raises(FcpError, match="has 6 episodes, not 7; choose another --out"):
        collect([FCP], replace(place, episodes=7), report=quiet)


@pytest.mark.parametrize("what", ["frozen encoders", "episodes", "true masks"])
def test_rows_that_do_not_compare_are_refused(place, what):
    found = load_evaluations(file := place.out / "results" / f"{NAME}-1shot.npz")[file.stem]
    if what == "episodes":
        found.report["protocol"]["episode_sha256"] = "0" * 64
    if what == "true masks":  # one pixel more is ignored
        found.counts.counts["original"][2, 3] -= 1
    if what == "frozen encoders":
        found = replace(found, encoders=("0" * 64, *found.encoders[1:]))
    save_evaluations(file, {file.stem: found})
    with pytest.raises(FcpError, match=rf"{NAME}-1shot: has other {what} than .*vrp-sam"):
        collect([VRP, FCP], place, report=quiet)


def test_unreadable_data_are_an_error_and_no_missing_result(made, tmp_path):
    shutil.copytree(made[0].data_root, tmp_path / "data")
    (tmp_path / "data/VOC2012/SegmentationClassAug/val_06_0.png").write_bytes(b"no picture")
    place = replace(made[0], data_root=tmp_path / "data", out=tmp_path / "out")
    with pytest.raises(FcpError, match="val_06_0"):
        collect([FCP], place, report=quiet)
    assert not (tmp_path / "out/results" / f"{NAME}-1shot.npz").exists()


def test_minutes_are_those_of_all_sittings(tmp_path):
    assert training_minutes(tmp_path) is None
    (tmp_path / "log.csv").write_text("step,seconds_per_step\n20,3.0\n25,12.0\n45,6.0\n")
    assert training_minutes(tmp_path) == (20 * 3 + 5 * 12 + 20 * 6) / 60


def test_a_promptable_stage_is_found_given_first_then_in_out(mini_voc, toy_recipes, tmp_path):
    given, out = tmp_path / "given", tmp_path / "out"
    place = Workplace(mini_voc, out, toy_recipes, promptable=given)
    for parent, name in ((given, "02"), (out, "02"), (out, "13")):
        folder = parent / f"tiny-promptable-{name}"
        folder.mkdir(parents=True)
        (folder / WEIGHTS).touch()
    of_fold2 = replace(FCP, fold=2)
    assert promptable_stage(of_fold2, place, report=quiet) == given / "tiny-promptable-02"
    assert promptable_stage(FCP, place, report=quiet) == out / "tiny-promptable-13"
    recipe = promptable_recipe(FCP, place)
    (out / "tiny-promptable-13" / "recipe.json").write_text(json.dumps(asdict(recipe)))
    assert promptable_stage(FCP, place, report=quiet) == out / "tiny-promptable-13"
    other = replace(place, settings=("promptable.optim.iterations=9000",))
    with pytest.raises(FcpError, match=r"tiny-promptable-13: was made with another recipe\.optim"):
        training.model_of(FCP, other, report=quiet)


def test_a_missing_promptable_stage_is_trained_without_both_folds(
    mini_voc, toy_recipes, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        training, "train", lambda file, **rest: calls.append((file.name, rest["overrides"]))
    )
    settings = ("backbone_weights=heads", "promptable.backbone_weights=here", "seed=4")
    place = Workplace(mini_voc, tmp_path, toy_recipes, settings=settings)
    promptable_stage(replace(FCP, fold=3), place, report=quiet)
    assert calls == [
        ("tiny-frozen-segmenter.yaml", ("backbone_weights=here", "exclude_folds=[1, 3]"))
    ]
    assert recipe_of(FCP, place).backbone_weights == "heads"


def test_the_models_hold_the_promptable_stage(made, toy_recipes):
    given = load_file(toy_recipes / "tiny-promptable-13" / WEIGHTS)
    found = load_model(made[0].out / "runs" / NAME).segmenter.state_dict()
    assert all(found[name].equal(tensor) for name, tensor in given.items())


PFENET, BAM = replace(FCP, row="PFENet", shots=(1,)), replace(FCP, row="BAM", shots=(1,))
HDMNET, SSP = replace(BAM, row="HDMNet"), replace(BAM, row="SSP")


FREE = [replace(FCP, row=row, shots=(1,)) for row in ("INSID3", "PerSAM", "GF-SAM")]


@pytest.fixture(scope="module")
def untrained(made, tmp_path_factory):
    """Methods without training, and SSP with a frozen backbone."""
    settings = ("pascal5i-tiny/SSP.options.trained=[]",)
    place = replace(made[0], out=tmp_path_factory.mktemp("free"), settings=settings)
    lines = []
    return place, collect([*FREE, SSP], place, report=lines.append), lines


def test_rows_without_training_are_on_the_same_episodes_and_encoders(made, untrained):
    _, results, lines = untrained
    fcp = made[1][2].found
    backbone, segmenter = fcp.encoders
    parts = {"INSID3": (backbone, ""), "PerSAM": ("", segmenter), "SSP": (backbone,)}
    for result in results:
        assert result.found.counts.ids == fcp.counts.ids
        assert result.found.encoders == parts.get(result.experiment.row, fcp.encoders)
        assert result.found.minutes is None
        card = result.found.report["protocol"]
        assert card["seen_in_training"] == "none of the tested classes"
    assert [line for line in lines if "training" in line] == []
    assert sum("nothing to train" in line for line in lines) == 4
    table = table1([*results, made[1][2]])
    cells = {row[1]: row for row in table.rows}
    assert cells.keys() >= {"INSID3", "FCP − INSID3", "FCP − GF-SAM"}
    assert all(cells[row][-3] == "–" for row in ("INSID3", "GF-SAM", "PerSAM", "SSP"))


def test_a_row_without_training_answers_as_its_method_on_fcps_encoders(made, untrained):
    place, results, _ = untrained
    model = load_model(made[0].out / "runs" / NAME)
    own = MethodPredictor(
        build_on("persam", None, model.segmenter, image_size=64, released=False), image_size=64
    )
    test = open_test(FCP, place)
    counts = evaluate(own, test.data, test.draw(1, 6), image_size=64).counts
    assert counts.scores("mask") == results[1].found.counts.scores("mask")


def test_rows_on_other_encoders_do_not_compare(made, untrained):
    results = [made[1][2], untrained[1][1]]
    place = replace(made[0], out=made[0].out.parent / "mixed")
    (place.out / "results").mkdir(parents=True)
    other = replace(results[1].found, encoders=("", "0" * 64))
    for result, found in zip(results, (results[0].found, other), strict=True):
        save_evaluations(place.out / "results" / f"{result.name}.npz", {result.name: found})
    with pytest.raises(FcpError, match=r"persam.*: has other frozen encoders than .*fcp"):
        collect([replace(FCP, shots=(1,)), FREE[1]], place, report=quiet)


def test_what_has_no_training_is_made_once_and_kept(untrained, monkeypatch):
    place, results, _ = untrained
    monkeypatch.setattr(training, "train", fail)
    monkeypatch.setattr(evaluating, "evaluate_folds", fail)
    assert collect([*FREE, SSP], place, report=quiet)[3].found.report == results[3].found.report
    other = replace(place, settings=("pascal5i-tiny/PerSAM.options.released=true",))
    with pytest.raises(FcpError, match=r"persam-fold1.*: was made with another recipe\.options"):
        collect(FREE, other, report=quiet)


@pytest.fixture(scope="module")
def compared(made, tmp_path_factory):
    """PFENet, which chooses its step on base classes, and the methods that share a base learner."""
    place = replace(made[0], out=tmp_path_factory.mktemp("methods"))
    lines = []
    return place, collect([PFENET, BAM, HDMNET, SSP], place, report=lines.append), lines


def test_methods_are_rows_on_the_same_episodes_and_encoders(made, compared):
    _, results, lines = compared
    fcp = made[1][2].found
    assert [r.experiment.row for r in results] == ["PFENet", "BAM", "HDMNet", "SSP"]
    for result in results:
        assert result.found.counts.ids == fcp.counts.ids
        assert result.found.encoders == (() if result.experiment.row == "SSP" else fcp.encoders[:1])
    assert lines.count("tiny-base-learner-fold1: training") == 1
    table = table1([*results, made[1][2]])
    assert {row[1] for row in table.rows} >= {"PFENet", "FCP − PFENet", "FCP − HDMNet"}


def test_the_step_that_base_classes_chose_is_the_result_and_the_last_stands_beside(compared):
    place, results, _ = compared
    pfenet = results[0].found
    run = place.out / "runs" / results[0].experiment.name
    assert (run / "best/config.json").exists()
    hashes = [sha256_of(folder / "model.safetensors") for folder in (run / "best", run)]
    assert pfenet.report["protocol"]["checkpoint_sha256"] == hashes[0]
    if hashes[0] == hashes[1]:
        assert pfenet.last_miou == pfenet.report["miou"]
    assert 0 <= pfenet.last_miou <= 1
    (note,) = [note for note in table1(results).notes if "step that base classes" in note]
    assert note.startswith("pascal5i-tiny, PFENet, 1-shot: ")
    assert results[1].found.last_miou is None


def test_a_kill_between_cells_repeats_none_that_is_done(compared, tmp_path, monkeypatch):
    shutil.copytree(compared[0].out, tmp_path / "out")
    place = replace(compared[0], out=tmp_path / "out")
    shutil.rmtree(place.out / "runs" / BAM.name)
    (place.out / "results" / f"{BAM.name}-1shot.npz").unlink()
    trained = []
    real = training.train

    def train(file, **rest):
        trained.append(rest["out"].name)
        real(file, **rest)

    monkeypatch.setattr(training, "train", train)
    again = collect([PFENET, BAM, HDMNET], place, report=quiet)
    assert trained == [BAM.name]  # neither another cell nor the base learner
    assert again[1].found.report["miou"] == compared[1][1].found.report["miou"]


def test_a_cell_of_other_settings_is_refused_by_name(compared):
    other = replace(compared[0], settings=("pascal5i-tiny/PFENet.optim.batch=1",))
    with pytest.raises(FcpError, match=rf"{PFENET.name}-1shot: was made with another recipe.optim"):
        collect([BAM, PFENET], other, report=quiet)
    assert len(collect([BAM, HDMNET], other, report=quiet)) == 2
    learner = replace(compared[0], settings=("base_learner.optim.iterations=3",))
    shutil.rmtree(learner.out / "runs" / SSP.name)
    with pytest.raises(FcpError, match=r"base-learner-fold1: was made with another recipe\.optim"):
        training.model_of(BAM, learner, report=quiet)
    with pytest.raises(FcpError, match=r"base-learner-fold1: was made with another recipe\.optim"):
        collect([BAM], learner, report=quiet)  # though its evaluation is there


@pytest.mark.parametrize("stage", ["base_learner", "promptable"])
def test_settings_of_the_stage_before_are_part_of_a_result(made, compared, tmp_path, stage):
    given, place = (f"{stage}.optim.iterations=3",), replace(made[0], promptable=None, out=tmp_path)
    result = compared[1][1] if stage == "base_learner" else made[1][2]
    found, wanted = result.found, replace(result.experiment, shots=(1,))
    if stage == "promptable":  # it was given
        assert found.stages == {}
        recipe = asdict(promptable_recipe(wanted, place))
        found = replace(found, stages={"promptable.": settings_of(recipe)})
    file = tmp_path / "results" / f"{result.name}.npz"
    file.parent.mkdir()
    save_evaluations(file, {result.name: found})
    assert len(collect([wanted], place, report=quiet)) == 1
    other = replace(place, settings=given)
    with pytest.raises(FcpError, match=rf"{result.name}: .* another {stage}.optim.iterations;"):
        collect([wanted], other, report=quiet)
    save_evaluations(file, {result.name: replace(found, stages={})})  # of an earlier version
    assert len(collect([wanted], other, report=quiet)) == 1


def test_what_could_not_be_drawn_is_made_once_pictures_are_there(made, place):
    missing = replace(made[1][3].found, missing="class 'bus': too few pictures")
    file = place.out / "results" / f"{NAME}-1shot.npz"
    save_evaluations(file, {file.stem: missing})
    assert missing_shots([FCP], place) == {FCP: (1,)}
    one, five = collect([FCP], place, report=quiet)
    assert one.found.report["miou"] == made[1][2].found.report["miou"]
    assert five.found == made[1][3].found


def test_settings_that_recipes_did_not_have_count_as_their_defaults(place):
    file = place.out / "results" / f"{NAME}-1shot.npz"
    found = load_evaluations(file)[file.stem]
    del found.settings["optim"]["schedule"]
    save_evaluations(file, {file.stem: found})
    assert collect([FCP], place, report=quiet)[0].found.report is not None
