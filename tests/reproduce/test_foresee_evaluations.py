"""Hours of evaluations: real episodes at toy size, and the sum over cells, shots and folds."""

from dataclasses import replace

import pytest

from fcp.reproduce import foresee_evaluations as module
from fcp.reproduce.foresee_evaluations import EpisodeCost, episode_cost, report_evaluations
from fcp.reproduce.plan import SCALES, Experiment
from fcp.reproduce.recipes import Workplace, recipe_of
from fcp.reproduce.run import open_test

SETTING = SCALES["tiny"].settings[0]
FCP = Experiment(SETTING, "FCP", fold=1, seed=0, shots=(1, 5))


@pytest.fixture
def place(mini_voc, toy_recipes, tmp_path):
    settings = ("backbone_weights=nowhere", "segmenter_folder=nowhere")
    return Workplace(mini_voc, tmp_path / "out", toy_recipes, settings=settings)


@pytest.mark.parametrize("row", ["FCP", "FCP plain decoder", "BAM", "INSID3", "PerSAM"])
def test_episodes_of_every_family_are_timed_without_weights(row, place):
    one = replace(FCP, row=row)
    cost = episode_cost([one], 1, recipe_of(one, place), place)
    assert 0 < cost.again < cost.first < 60
    assert cost.pictures == len(open_test(one, place).lists.rows)
    assert not place.out.exists()


def test_what_cannot_be_timed_is_unknown(place, tmp_path):
    recipe = recipe_of(FCP, place)
    assert episode_cost([FCP], 5, recipe, place) is None  # too few pictures in the small data
    nowhere = replace(place, data_root=tmp_path / "nowhere")
    assert episode_cost([FCP], 1, recipe, nowhere) is None


def test_hours_are_those_of_what_is_left(place, monkeypatch):
    costs = {1: EpisodeCost(7.2, 3.6, 500, 1), 5: EpisodeCost(25.2, 7.2, 500, 5)}
    monkeypatch.setattr(module, "episode_cost", lambda _, k, *__: costs[k])
    pfenet = replace(FCP, row="PFENet")  # its last step is evaluated beside the chosen one
    other = replace(FCP, fold=3)
    lines = []
    free = replace(FCP, row="INSID3")  # whose features are not stored
    left = {FCP: (1, 5), other: (5,), pfenet: (1,), free: (1,)}
    report_evaluations(left, place, lines.append)
    assert lines == [  # 500 pictures are 0.25 h with one shot, 3 s a picture with five
        "pascal5i-tiny/FCP: 5.7 h of evaluations, an episode 3.60 s with 1, 7.20 s with 5 shots",
        "pascal5i-tiny/PFENet: 2.2 h of evaluations, an episode 3.60 s with 1 shots",
        "pascal5i-tiny/INSID3: 2.0 h of evaluations, an episode 7.20 s with 1 shots",
        "9.9 h of evaluations in all, one after the other",
    ]
    monkeypatch.setattr(module, "episode_cost", lambda *_: None)
    report_evaluations({FCP: (1, 5)}, place, lines.append)
    assert lines[4:] == [
        "0.0 h of evaluations in all beside 2 of unknown time, one after the other"
    ]
