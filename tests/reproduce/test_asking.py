"""Episodes in the order that reads least, and truths on a grid cell by cell."""

import numpy as np
import pytest

from fcp.data.episodes import EpisodeSpec
from fcp.errors import FcpError
from fcp.evaluation.evaluate import Truth, truth_of
from fcp.reproduce.asking import run_episodes, truth_on_grid


def test_each_episode_is_run_once_beside_its_like(predictor, data, episodes):
    steps = []
    done = run_episodes(predictor, data, episodes, progress=lambda *step: steps.append(step))
    order = [index for index, _ in done]
    keys = [(episodes[index].class_id, episodes[index].query) for index in order]
    assert sorted(order) == list(range(len(episodes)))
    assert keys == sorted(keys)
    assert steps == [(n, len(episodes)) for n in range(1, len(episodes) + 1)]


def test_attention_comes_only_when_asked(predictor, data, episodes):
    for asked in (False, True):
        ((_, output),) = run_episodes(predictor, data, episodes[:1], with_maps=asked)
        assert (output.query_attention is not None) == asked


def test_no_episodes_and_missing_pictures(predictor, data):
    with pytest.raises(FcpError, match="episodes: expected at least one"):
        next(run_episodes(predictor, data, []))
    with pytest.raises(FcpError, match=r"gone\.jpg: no such file"):
        next(run_episodes(predictor, data, [EpisodeSpec("gone", ("val_06_0",), 6)]))


def test_cells_read_the_pixel_of_their_corner():
    generator = np.random.default_rng(0)
    labels = generator.choice([0, 7, 255], (24, 40))
    foreground, background = truth_on_grid(Truth(labels == 7, labels == 255), 8)
    for cell in range(64):
        label = labels[cell // 8 * 3, cell % 8 * 5]
        assert bool(foreground[cell]) == (label == 7)
        assert bool(background[cell]) == (label == 0)


def test_a_speck_keeps_its_cell_and_no_cell_is_both():
    mask = np.zeros((24, 24), bool)
    mask[5, 20] = True
    foreground, background = truth_on_grid(Truth(mask, np.zeros_like(mask)), 4)
    assert foreground.nonzero().tolist() == [[3]]
    assert (foreground ^ background).all()


def test_truth_is_the_data_sets(data):
    truth = truth_of(data, "val_06_0", 6)
    assert (truth.mask == (data.labels("val_06_0") == 6)).all()
    assert truth.ignored.sum() == 96
