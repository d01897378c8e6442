"""The run over episodes against a naive loop; both resolutions and the ignored pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from fcp.data.dataset import ClassExample, Picture
from fcp.data.episodes import EpisodeSpec, sample_episodes
from fcp.data.lists import val_lists
from fcp.data.pascal import PascalVOC
from fcp.errors import FcpError
from fcp.evaluation.episode_counts import EpisodeDraw
from fcp.evaluation.evaluate import (
    Truth,
    count_at_original,
    count_at_square,
    episode_ids,
    evaluate,
    evaluate_runs,
)
from fcp.evaluation.metrics import Counts

FOLD = 1


@pytest.fixture
def data(mini_voc):
    return PascalVOC(mini_voc)


@pytest.fixture
def episodes(data):
    return sample_episodes(val_lists(data, FOLD), shots=2, episodes=24, seed=0)


def guess(supports, query):
    """Say something that depends on the query, the class and the supports; at an odd size."""
    seed = sum((query.id + supports[0].id + str(supports[0].class_id)).encode())
    noise = torch.rand(20, 30, generator=torch.Generator().manual_seed(seed))
    return {"mask": noise, "attention": noise.flip(0)}


def naive(data, episodes, kind, size):
    """Count pixel by pixel with Pillow and numpy; size None is the photo's own."""
    sums: dict[str, np.ndarray] = {}
    for spec in episodes:
        supports = [ClassExample(data, name, 64, spec.class_id) for name in spec.supports]
        probabilities = guess(supports, Picture(data, spec.query, 64))[kind]
        labels = Image.open(data.mask_path(spec.query))
        wanted = (size, size) if size else labels.size
        if size:
            labels = Image.fromarray(
                np.asarray(labels)[np.arange(size) * labels.height // size][
                    :, np.arange(size) * labels.width // size
                ]
            )
        labels = np.asarray(labels)
        resized = Image.fromarray(probabilities.numpy()).resize(wanted, Image.Resampling.BILINEAR)
        found, true = np.asarray(resized) >= 0.5, labels == spec.class_id
        counted = labels != 255
        pair = np.array([(found & true & counted).sum(), ((found | true) & counted).sum()])
        name = data.classes[spec.class_id]
        sums[name] = sums.get(name, 0) + pair
    return {name: intersection / union for name, (intersection, union) in sums.items()}


def test_all_figures_agree_with_a_naive_loop(data, episodes):
    result = evaluate(guess, data, episodes, image_size=64)
    for scores, kind, size in [
        (result.square, "mask", 512),
        (result.original, "mask", None),
        (result.pseudo_masks["attention"], "attention", 512),
    ]:
        expected = naive(data, episodes, kind, size)
        assert scores.class_iou == pytest.approx(expected, abs=1e-4)
        assert scores.miou == pytest.approx(np.mean(list(expected.values())), abs=1e-4)
    assert list(result.square.class_iou) == ["bus", "car"]
    assert list(result.pseudo_masks) == ["attention"]
    assert result.episodes == 24
    assert result.seconds > 0


def test_order_of_episodes_changes_nothing(data, episodes):
    one = evaluate(guess, data, episodes, image_size=64)
    other = evaluate(guess, data, episodes[::-1], image_size=64)
    assert one.square == other.square
    assert one.original == other.original


def test_counts_of_each_episode_are_kept(data, episodes):
    result = evaluate(guess, data, episodes[::-1], image_size=64)
    assert result.counts.ids == episode_ids(data, {EpisodeDraw(): episodes})
    assert list(result.counts.counts) == ["original", "mask", "attention"]
    pixels = result.counts.counts["mask"].sum(axis=1)
    ignored = np.floor(512 / 72)  # of 512 rows, 7 show the last of 72
    assert set(pixels) <= {512 * (512 - ignored), 512 * (512 - ignored - 1)}
    alone = evaluate(guess, data, episodes[5:6], image_size=64)
    row = result.counts.ids.index(alone.counts.ids[0])
    np.testing.assert_array_equal(alone.counts.counts["mask"][0], result.counts.counts["mask"][row])


def test_runs_together_are_the_runs_alone(shapes):
    lists = val_lists(shapes, None)
    runs = {
        EpisodeDraw(None, s): sample_episodes(lists, shots=2, episodes=9, seed=s) for s in (3, 1)
    }
    asked = []

    def look(supports, query):
        asked.append((supports[0].class_id, query.id))
        return guess(supports, query)

    together = evaluate_runs(look, shapes, runs, image_size=16)
    assert asked == sorted(asked)  # all seeds side by side, so that caches work
    assert together.episodes == 18
    assert list(together.counts.runs()) == [EpisodeDraw(None, 1), EpisodeDraw(None, 3)]
    for run, rows in together.counts.runs().items():
        alone = evaluate(guess, shapes, runs[run], image_size=16)
        assert together.counts.take(rows).scores("mask") == alone.square
        assert together.counts.take(rows).scores("attention") == alone.pseudo_masks["attention"]


def test_order_of_runs_changes_no_id(data, episodes):
    runs = {EpisodeDraw(fold, seed): episodes[:2] for fold in (1, 0) for seed in (5, None)}
    asked = [(one.run.fold, one.run.seed) for one in episode_ids(data, runs)]
    assert asked == [(f, s) for f in (0, 1) for s in (None, 5) for _ in range(2)]
    assert episode_ids(data, dict(reversed(runs.items()))) == episode_ids(data, runs)


def test_absent_classes_and_empty_predictions(shapes):
    discs = [
        EpisodeSpec(query, ("disc3",), class_id)
        for query in ("disc0", "disc1")
        for class_id in (3, 8)  # no bar is there
    ]
    found = evaluate(lambda *_: {"mask": torch.zeros(4, 4)}, shapes, discs, image_size=16)
    assert found.original.class_iou == {"disc": 0, "bar": 1}
    assert (found.original.precision, found.original.recall) == (0, 0)
    everything = evaluate(lambda *_: {"mask": torch.ones(4, 4)}, shapes, discs[::2], image_size=16)
    (row,) = {tuple(counts) for counts in everything.counts.counts["original"]}
    area = shapes.class_mask("disc0", 3).sum()
    assert row == (area, 30 * 39 - area, 0, 0)
    assert list(everything.original.class_iou) == ["disc"]


def test_the_truth_scores_one(data, episodes):
    def oracle(supports, query):
        labels = data.labels(query.id)
        return {"mask": torch.from_numpy(labels == supports[0].class_id).float()}

    result = evaluate(oracle, data, episodes, image_size=64)
    assert result.original.miou == 1
    assert result.original.fb_iou == 1
    assert result.square.miou > 0.97  # the truth is resized bilinearly there
    assert result.pseudo_masks == {}


def test_what_the_predictor_is_given(data, episodes):
    spec = episodes[0]
    seen = []

    def look(supports, query):
        seen.append((supports, query))
        return {"mask": torch.zeros(4, 4)}

    progress = []
    evaluate(look, data, [spec], image_size=64, progress=lambda *step: progress.append(step))
    ((supports, query),) = seen
    assert progress == [(1, 1)]
    assert tuple(example.id for example in supports) == spec.supports
    assert query.id == spec.query
    assert query.image().shape == (3, 64, 64)
    assert not hasattr(query, "mask")
    assert supports[0].image().shape == (3, 64, 64)
    assert supports[0].mask().shape == (64, 64)
    share = data.class_mask(spec.supports[0], spec.class_id).mean()
    assert supports[0].mask().mean() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("count", [count_at_square, count_at_original])
def test_half_is_foreground_and_ignored_pixels_are_left_out(count):
    labels = np.zeros((8, 8), np.uint8)
    labels[:2], labels[2:6] = 5, 255
    truth = Truth(labels == 5, labels == 255)
    counts = count(torch.full((3, 3), 0.5), truth)
    assert counts.tp == counts.fp > 0  # the middle half is not counted, the last rows are wrong
    assert counts.fn == counts.tn == 0
    below = count(torch.full((3, 3), 0.499), truth)
    assert below == Counts(tp=0, fp=0, fn=counts.tp, tn=counts.fp)


def test_no_episodes_and_missing_pictures(data):
    with pytest.raises(FcpError, match="episodes: expected at least one"):
        evaluate(guess, data, [], image_size=64)
    with pytest.raises(FcpError, match=r"gone\.png: no such file"):
        evaluate(guess, data, [EpisodeSpec("gone", ("val_exact",), 6)], image_size=64)
