"""What each target needs: rows are the paper's switches, files have names of their own."""

from dataclasses import asdict, replace
from typing import get_args

import pytest

from fcp.engine.method_recipe import FreeRecipe, MethodRecipe
from fcp.engine.recipe import shipped_recipes
from fcp.errors import FcpError
from fcp.reproduce import paper
from fcp.reproduce.plan import ROWS, SCALES, Target, cells, choose, experiments
from fcp.reproduce.recipes import Workplace, recipe_of
from fcp.reproduce.targets import without_repeats

METHODS = ("PFENet", "CyCTR", "SSP", "BAM", "HDMNet")
FREE = ("INSID3", "GF-SAM", "PerSAM", "Matcher", "Contrast")
SWITCHES = {  # of method.md, section 9: features, matching, pseudo mask
    "VRP-SAM": ("F", "pixel", "conventional"),
    "b": ("G", "pixel", "conventional"),
    "c": ("F", "prototype", "conventional"),
    "d": ("G", "prototype", "conventional"),
    "e": ("F+G", "prototype", "conventional"),
    "FCP": ("F+G", "prototype", "attention"),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("target", get_args(Target))
def test_every_training_has_a_file_name_of_its_own(target, scale):
    wanted = experiments(target, SCALES[scale])
    assert len({experiment.name for experiment in wanted}) == len(wanted)
    assert {experiment.row for experiment in wanted} <= set(ROWS)
    assert all(not set(experiment.name) & set(' /\\:*?"<>|') for experiment in wanted)


def test_main_comparison_has_all_folds_both_shots_and_the_seeds_of_each_row():
    wanted = experiments("table1", SCALES["tiny"])
    others = (*METHODS, *FREE, "FCP plain decoder")
    seeds = {**dict.fromkeys(others, 2), "VRP-SAM": 3, "FCP": 3}
    assert {(e.row, e.fold, e.seed) for e in wanted} == {
        (row, fold, seed) for row, n in seeds.items() for fold in range(4) for seed in range(n)
    }
    assert {e.shots for e in wanted} == {(1, 5)}


def test_fcp_and_its_baseline_take_32_trainings_at_the_papers_scale():
    wanted = experiments("table1", SCALES["paper"])
    assert sum(e.row in ("FCP", "VRP-SAM") for e in wanted) == 32
    rows = {(e.setting.name, e.row) for e in wanted}
    assert {key[:2] for key in paper.TABLE1} <= rows


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("target", get_args(Target))
def test_every_recipe_is_shipped_and_of_its_rows_kind(target, scale, tmp_path):
    place = Workplace(tmp_path, tmp_path, shipped_recipes()["tiny"].parent)
    cells = {e.cell: e for e in experiments(target, SCALES[scale])}
    for cell, experiment in cells.items():
        recipe = recipe_of(experiment, place)
        assert recipe.benchmark == experiment.setting.benchmark
        assert (recipe.fold, recipe.seed) == (experiment.fold, experiment.seed)
        method = recipe.method if isinstance(recipe, MethodRecipe | FreeRecipe) else None
        assert method == ROWS[experiment.row].method, cell


def test_cells_are_chosen_by_setting_and_row():
    wanted = experiments("table1", SCALES["paper"])
    of_setting = choose(wanted, "pascal5i-resnet50")
    assert {e.row for e in of_setting} == {*METHODS, "VRP-SAM", "FCP"}
    assert {e.setting.name for e in of_setting} == {"pascal5i-resnet50"}
    for spelt in ("coco20i-vgg16/PFENet", "coco20i-vgg16/pfenet"):
        one = choose(wanted, spelt)
        assert {e.cell for e in one} == {"coco20i-vgg16/PFENet"}
        assert [e.fold for e in one] == [0, 1, 2, 3]
    assert len(choose(experiments("table2", SCALES["tiny"]), "pascal5i-tiny/g-guided-once")) == 2


@pytest.mark.parametrize("wrong", ["pascal5i", "pascal5i-vgg16/SSP", "/FCP", "FCP"])
def test_a_wrong_cell_lists_the_cells(wrong):
    wanted = experiments("table1", SCALES["paper"])
    with pytest.raises(FcpError, match=f"{wrong}: no such cell; choose one of ") as refused:
        choose(wanted, wrong)
    assert all(cell in str(refused.value) for cell in cells(wanted))


@pytest.mark.parametrize("target", ["table1", "table2"])
def test_seeds_can_be_more_or_fewer(target):
    plain, asked = (experiments(target, SCALES["tiny"], (1,), seeds) for seeds in (None, 2))
    assert all({e.seed for e in asked if e.row == row} == {0, 1} for row in {e.row for e in asked})
    assert {e.row for e in asked} == {e.row for e in plain}


def test_paper_scale_has_the_settings_of_the_paper():
    settings = {e.setting for e in experiments("table1", SCALES["paper"])}
    assert {s.name for s in settings} == {key[0] for key in paper.TABLE1}
    assert all(s.name.startswith(s.benchmark) and s.paper == s.name for s in settings)


def test_rows_are_one_recipe_with_their_switches(toy_recipes, tmp_path):
    place = Workplace(tmp_path, tmp_path, toy_recipes)
    rows = {e.row: recipe_of(e, place) for e in experiments("table2", SCALES["tiny"], (1,))}
    for row, switches in SWITCHES.items():
        head = rows[row].model.head
        assert (head.features, head.matching, head.pseudo_mask) == switches
    assert not rows["G guided once"].model.head.refresh_guidance
    plain = asdict(rows["FCP"])
    for row, recipe in rows.items():
        same = asdict(recipe)
        for name in ("features", "matching", "pseudo_mask", "refresh_guidance"):
            same["model"]["head"][name] = plain["model"]["head"][name]
        assert same == plain, row


def test_losses_and_steps_are_switched(toy_recipes, tmp_path):
    place = Workplace(tmp_path, tmp_path, toy_recipes)
    loss = {e.row: recipe_of(e, place).loss for e in experiments("table4", SCALES["tiny"], (3,))}
    on = {row: (weights.guide > 0, weights.ortho > 0) for row, weights in loss.items()}
    assert on == {
        "prompt": (False, False),
        "prompt+guide": (True, False),
        "prompt+ortho": (False, True),
        "FCP": (True, True),
    }
    swept = experiments("fig5", SCALES["tiny"], (3,))
    assert [recipe_of(e, place).model.head.steps for e in swept] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("folds", [(0,), (0, 1), (4,), ()])
def test_a_fold_that_is_no_part_of_it_is_refused(folds):
    with pytest.raises(FcpError, match="table2 is made of folds 1, 3, got "):
        experiments("table2", SCALES["tiny"], folds)


def test_methods_without_training_read_the_encoders_of_fcps_row(tmp_path):
    place = Workplace(tmp_path, tmp_path, shipped_recipes()["tiny"].parent)
    rows = {e.row: recipe_of(e, place) for e in experiments("table1", SCALES["tiny"], (1,))}
    fcp, plain = rows["FCP"], rows["FCP plain decoder"]
    for row in FREE:
        own = rows[row].encoders
        whole = (own.image_size, own.backbone, own.segmenter)
        assert whole == (fcp.model.image_size, fcp.model.backbone, fcp.model.segmenter)
        assert rows[row].backbone_weights == fcp.backbone_weights
        assert rows[row].weights_dtype == fcp.weights_dtype
    head = replace(fcp.model.head, plain_decoder=True)
    assert plain == replace(fcp, model=replace(fcp.model, head=head), seed=plain.seed)


def test_rows_that_train_nothing_have_one_seed(toy_recipes, tmp_path):
    settings = ("pascal5i-tiny/SSP.options.trained=[]",)
    wanted = experiments("table1", SCALES["tiny"], (0, 1), 3)
    seeds = {}
    for given in ((), settings):
        place = Workplace(tmp_path, tmp_path, toy_recipes, settings=given)
        for one in without_repeats(wanted, place):
            seeds.setdefault((one.row, given), set()).add((one.fold, one.seed))
    once, thrice = {(0, 0), (1, 0)}, {(fold, seed) for fold in (0, 1) for seed in range(3)}
    for row in {one.row for one in wanted}:
        assert seeds[row, ()] == (once if row in FREE else thrice)
        assert seeds[row, settings] == (once if row in (*FREE, "SSP") else thrice)
