"""Episodes at evenly spaced ranks, and rows that show what the model was given and found."""

import numpy as np
import pytest

from fcp.data.episodes import EpisodeSpec, sample_episodes
from fcp.data.lists import val_lists
from fcp.errors import FcpError
from fcp.evaluation.evaluate import evaluate
from fcp.reproduce.figure4 import (
    FOUND,
    GIVEN,
    Row,
    Tile,
    plot_rows,
    prediction_ious,
    show,
    show_spread,
    spread_ranks,
)


def test_ranks_are_evenly_spaced_and_the_middle_one_is_the_median():
    ious = np.random.default_rng(0).permutation(101) / 100
    chosen = spread_ranks(list(ious), 5)
    assert [ious[index] for index, _ in chosen] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    assert [share for _, share in chosen] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    assert ious[spread_ranks(list(ious), 1)[0][0]] == np.median(ious)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_no_episode_is_shown_twice(count):
    chosen = [index for index, _ in spread_ranks([0.5] * 7, count)]
    assert len(set(chosen)) == count


@pytest.mark.parametrize("count", [0, 4])
def test_rows_that_there_are_not(count):
    with pytest.raises(FcpError, match=f"figure 4: expected 1 … 3 rows, got {count}"):
        spread_ranks([0.1, 0.2, 0.3], count)


def test_ious_are_those_of_the_evaluation(predictor, data, episodes):
    ious = prediction_ious(predictor, data, episodes)
    size = predictor.model.config.image_size
    for spec, iou in zip(episodes, ious, strict=True):
        result = evaluate(predictor, data, [spec], image_size=size)
        assert iou == pytest.approx(result.square.mean_episode_iou)


@pytest.mark.parametrize("shots", [1, 3])
def test_a_row_runs_from_the_supports_to_the_truth(predictor, data, shots):
    (spec,) = sample_episodes(val_lists(data, 1), shots=shots, episodes=1, seed=0)
    row = show(predictor, data, spec, note="a note")
    supports = ["support"] if shots == 1 else ["support 1", "support 2", "support 3"]
    masks = ["conventional mask", "attention mask", "prediction"]
    assert [tile.title for tile in row.tiles] == [*supports, "query", *masks, "ground truth"]
    assert row.title == f"{data.classes[spec.class_id]}\na note"
    assert (row.tiles[shots].image == data.image(spec.query)).all()
    assert all(tile.caption.startswith("IoU ") for tile in row.tiles[-4:-1])
    truth = data.class_mask(spec.query, spec.class_id)
    changed = (row.tiles[-1].image != data.image(spec.query)).any(axis=2)
    assert not changed[~truth].any()
    assert changed[truth].mean() > 0.9
    assert (row.tiles[-1].image == GIVEN).all(axis=2).any()  # the outline
    has_prediction = prediction_ious(predictor, data, [spec])[0] > 0
    assert (row.tiles[-2].image == FOUND).all(axis=2).any() == has_prediction


def test_figure_is_drawn(predictor, data, episodes, tmp_path, assert_drawn):
    rows = show_spread(predictor, data, episodes, rows=3)
    assert [row.title.split("\n")[1] for row in rows] == [
        "percentile 83",
        "percentile 50",
        "percentile 17",
    ]
    plot_rows(rows, tmp_path / "a.png")
    assert_drawn(tmp_path / "a.png")


def test_rows_must_have_the_same_columns(tmp_path):
    tile = Tile("query", np.zeros((4, 4, 3), np.uint8))
    for rows in ([], [Row("a", (tile,)), Row("b", (tile, tile))]):
        with pytest.raises(FcpError, match="figure 4: expected at least one row"):
            plot_rows(rows, tmp_path / "a.png")


def test_a_missing_picture_is_named(predictor, data):
    with pytest.raises(FcpError, match=r"gone\.jpg: no such file"):
        show(predictor, data, EpisodeSpec("gone", ("val_06_0",), 6))
