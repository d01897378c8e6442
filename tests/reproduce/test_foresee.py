"""A dry run of a table: what is counted, what is measured once, and that nothing is written."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fcp.engine.dry_run import Cost
from fcp.engine.dry_run_stored import StoredCost
from fcp.engine.recipe import shipped_recipes
from fcp.engine.tracking import record_recipe
from fcp.errors import FcpError
from fcp.reproduce import foresee as module
from fcp.reproduce.foresee import foresee, kind_of
from fcp.reproduce.plan import SCALES, experiments
from fcp.reproduce.recipes import Workplace, recipe_of
from fcp.reproduce.targets import plan

PUBLISHED = Path(__file__).parents[2] / "docs/results/tokens/table1.npz"

COST = Cost(
    trainable=1,
    frozen=1,
    parameter_bytes=2 << 30,
    gradient_bytes=1 << 30,
    optimizer_bytes=2 << 30,
    activation_bytes=3 << 30,
    peak_bytes=0,
    device="cpu",
    steps=6,
    seconds=3600.0,
)


@pytest.fixture
def measured(monkeypatch):
    """Take the place of all measurements; the names of the trainings that were measured."""
    names = []

    def cost(recipe, *_):
        names.append(kind_of(recipe))
        return COST

    monkeypatch.setattr(module, "report_evaluations", lambda *_: None)
    monkeypatch.setattr(module, "cost_of", cost)
    monkeypatch.setattr(module, "stored_cost", lambda *rest: StoredCost(cost(*rest), 360.0))
    return names


def lines_of(wanted, place):
    lines = []
    foresee(wanted, place, report=lines.append)
    return lines


def test_the_papers_scale_is_counted_and_each_kind_measured_once(tmp_path, measured):
    place = Workplace(tmp_path / "none", tmp_path / "out", shipped_recipes()["tiny"].parent)
    wanted = experiments("table1", SCALES["paper"])
    lines = lines_of([e for e in wanted if e.row in ("FCP", "VRP-SAM")], place)
    assert "32 trainings and 64 evaluations of 1,000 episodes to do" in lines
    assert (
        "pascal5i-vgg16/FCP: 4 trainings to do, 0 done or not needed; 8 evaluations to do, 0 "
        in ("\n".join(lines))
    )
    # Both benchmarks have the same models: two backbones, two heads.
    assert len(measured) == len(set(measured)) == 4
    known = "coco20i-vgg16/FCP: unknown time without its data for 4 trainings, 3600.00 s a step"
    assert any(line.startswith(known) and line.endswith("memory 8.0 GiB") for line in lines)
    assert lines[-2].startswith("0.0 h of trainings in all beside 32 trainings of unknown time")
    assert lines[-1] == "hours on a GPU are unknown until --dry-run is run on one"
    assert not list(tmp_path.iterdir())


def test_hours_are_steps_and_encoding_once(mini_voc, toy_recipes, tmp_path, measured):
    place = Workplace(mini_voc, tmp_path / "out", toy_recipes, promptable=toy_recipes)
    wanted = [e for e in experiments("table1", SCALES["tiny"], (1,)) if e.row in ("FCP", "BAM")]
    lines = lines_of(wanted, place)
    assert "tiny-base-learner-fold1: 1 training to do, 0 done or not needed" in lines
    assert "tiny-promptable-13: 0 trainings to do, 1 done or not needed" in lines
    assert len(measured) == 3  # base learner, BAM, FCP
    of_fcp = [line for line in lines if line.startswith("pascal5i-tiny/FCP: ")]
    (hours,) = [float(line.split()[1]) for line in of_fcp if " h " in line]
    pictures = module.train_lists(module.open_benchmark("pascal5i", mini_voc), 1).rows
    assert hours == pytest.approx(3 * 2 + len(pictures) / 10)  # three seeds of two steps
    assert not (tmp_path / "out").exists()


def test_rows_that_train_nothing_need_no_training_but_the_promptable_stage(
    mini_voc, toy_recipes, tmp_path, measured
):
    settings = ("pascal5i-tiny/SSP.options.trained=[]",)
    place = Workplace(mini_voc, tmp_path / "out", toy_recipes, settings=settings)
    _, wanted = plan("table1", SCALES["tiny"], place, folds=(1,), only="pascal5i-tiny/SSP")
    assert lines_of(wanted, place) == [
        "pascal5i-tiny/SSP: 0 trainings to do, 1 done or not needed; 2 evaluations to do, 0 done",
        "0 trainings and 2 evaluations of 1,000 episodes to do",
    ]
    _, wanted = plan("table1", SCALES["tiny"], place, folds=(1, 3), only="pascal5i-tiny/GF-SAM")
    assert lines_of(wanted, place)[:2] == [
        "tiny-promptable-13: 1 training to do, 0 done or not needed",
        "pascal5i-tiny/GF-SAM: 0 trainings to do, 2 done or not needed; 4 evaluations to do, 0 "
        "done",
    ]
    assert not (tmp_path / "out").exists()


def test_the_published_table_still_serves_its_rows(tmp_path, measured):
    shutil.copy(PUBLISHED, tmp_path)
    place = Workplace(tmp_path, tmp_path, shipped_recipes()["tiny"].parent)
    wanted = [e for e in experiments("table1", SCALES["tiny"]) if e.row in ("FCP", "VRP-SAM")]
    lines = lines_of(wanted, place)
    assert lines[-1] == "0 trainings and 0 evaluations of 1,000 episodes to do"
    assert sum("0 trainings to do, 12 done or not needed" in line for line in lines) == 2


def test_kinds_differ_by_what_a_step_costs(tmp_path):
    place = Workplace(tmp_path, tmp_path, shipped_recipes()["tiny"].parent)
    wanted = experiments("table1", SCALES["paper"], (0,))
    recipes = {e.cell: recipe_of(e, place) for e in wanted}
    fcp = recipes["pascal5i-resnet50/FCP"]
    assert kind_of(fcp) == kind_of(recipes["coco20i-resnet50/FCP"])
    assert kind_of(fcp) == kind_of(replace(fcp, fold=3, seed=2))
    for other in ("pascal5i-vgg16/FCP", "pascal5i-resnet50/VRP-SAM", "pascal5i-resnet50/BAM"):
        assert kind_of(fcp) != kind_of(recipes[other])
    assert kind_of(fcp) != kind_of(replace(fcp, optim=replace(fcp.optim, batch=4)))


def test_a_run_of_other_settings_is_refused_by_name(mini_voc, toy_recipes, tmp_path, measured):
    place = Workplace(mini_voc, tmp_path, toy_recipes, promptable=toy_recipes)
    (fcp,) = experiments("table3", SCALES["tiny"], (1,))
    folder = tmp_path / "runs" / fcp.name
    folder.mkdir(parents=True)
    record_recipe(folder, recipe_of(fcp, replace(place, settings=("optim.batch=1",))))
    with pytest.raises(FcpError, match=rf"{fcp.name}: was made with another recipe.optim.batch"):
        foresee([fcp], place, report=lambda _: None)
    assert measured == []
