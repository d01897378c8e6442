"""What each target needs: rows are the paper's switches, files have names of their own."""

from dataclasses import asdict
from typing import get_args

import pytest

from fcp.errors import FcpError
from fcp.reproduce import paper
from fcp.reproduce.plan import ROWS, SCALES, Target, experiments
from fcp.reproduce.run import Workplace, recipe_of

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


def test_main_comparison_has_all_folds_three_seeds_and_both_shots():
    wanted = experiments("table1", SCALES["tiny"])
    assert {(e.row, e.fold, e.seed) for e in wanted} == {
        (row, fold, seed) for row in ("FCP", "VRP-SAM") for fold in range(4) for seed in range(3)
    }
    assert {e.shots for e in wanted} == {(1, 5)}


@pytest.mark.parametrize("target", ["table1", "table2"])
def test_seeds_can_be_more_or_fewer(target):
    plain, asked = (experiments(target, SCALES["tiny"], (1,), seeds) for seeds in (None, 2))
    assert {e.seed for e in asked} == {0, 1}
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
