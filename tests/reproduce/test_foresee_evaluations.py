"""Hours of evaluations: real episodes at toy size, and the sum over cells, shots and folds."""

from dataclasses import replace

import pytest

from fcp.reproduce import foresee_evaluations as module
from fcp.reproduce.foresee_evaluations import episode_seconds, report_evaluations
from fcp.reproduce.plan import SCALES, Experiment
from fcp.reproduce.run import Workplace, recipe_of

SETTING = SCALES["tiny"].settings[0]
FCP = Experiment(SETTING, "FCP", fold=1, seed=0, shots=(1, 5))


@pytest.fixture
def place(mini_voc, toy_recipes, tmp_path):
    settings = ("backbone_weights=nowhere", "segmenter_folder=nowhere")
    return Workplace(mini_voc, tmp_path / "out", toy_recipes, settings=settings)


@pytest.mark.parametrize("row", ["FCP", "FCP plain decoder", "BAM", "INSID3", "PerSAM"])
def test_episodes_of_every_family_are_timed_without_weights(row, place):
    one = replace(FCP, row=row)
    seconds = episode_seconds([one], 1, recipe_of(one, place), place)
    assert 0 < seconds < 60
    assert not place.out.exists()


def test_what_cannot_be_timed_is_unknown(place, tmp_path):
    recipe = recipe_of(FCP, place)
    assert episode_seconds([FCP], 5, recipe, place) is None  # too few pictures in the small data
    nowhere = replace(place, data_root=tmp_path / "nowhere")
    assert episode_seconds([FCP], 1, recipe, nowhere) is None


def test_hours_are_those_of_what_is_left(place, monkeypatch):
    monkeypatch.setattr(
        module, "episode_seconds", lambda members, k, *_: {1: 3.6, 5: 7.2}[k] if members else None
    )
    pfenet = replace(FCP, row="PFENet")  # its last step is evaluated beside the chosen one
    other = replace(FCP, fold=3)
    lines = []
    report_evaluations({FCP: (1, 5), other: (5,), pfenet: (1,)}, place, lines.append)
    assert lines == [
        "pascal5i-tiny/FCP: at most 5.0 h of evaluations, an episode 3.60 s with 1, 7.20 s with 5 "
        "shots",
        "pascal5i-tiny/PFENet: at most 2.0 h of evaluations, an episode 3.60 s with 1 shots",
        "at most 7.0 h of evaluations in all, one after the other",
    ]
    monkeypatch.setattr(module, "episode_seconds", lambda *_: None)
    report_evaluations({FCP: (1, 5)}, place, lines.append)
    assert lines[3:] == [
        "at most 0.0 h of evaluations in all beside 2 of unknown time, one after the other"
    ]
