"""Presence: sums over cells, cosines by hand, the regression, its file; what users get of it."""

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcp.errors import FcpError
from fcp.inference.networks.base import Answer, Known
from fcp.inference.prediction import ALL
from fcp.inference.presence import (
    SOFT_WEIGHT,
    Look,
    Presence,
    compare,
    features,
    load_presence,
    look_at,
)
from fcp.inference.segmenter import FewShotSegmenter
from fcp.models.files import PRESENCE_FILE

LEVELS = (3, 2)


def photo(seed=0, height=70, width=100):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mask(height=70, width=100):
    return np.pad(
        np.ones((height // 2, width // 2), dtype=bool), ((0, height // 2), (0, width // 2))
    )


@pytest.fixture(scope="module")
def loaded(model_folder):
    return FewShotSegmenter.from_pretrained(model_folder, device="cpu")


@pytest.fixture
def encoded(loaded):
    """Two pictures as queries, and their made-up masks."""
    with torch.inference_mode():
        query = loaded.model.encode_query(torch.rand(2, 3, 64, 64))
    # Random weights leave next to nothing of stage 4.
    query = replace(query, high=torch.randn_like(query.high))
    return query, torch.randn(2, 64, 64) * 4


def answer(logits):
    """Return the answer of a network that judges no presence, in which only the logits count."""
    return Answer(logits, logits, logits)


def presence(levels=LEVELS, *, bias=0.0, threshold=0.5, weights=None):
    count = 8 * len(levels) + 1
    return Presence(
        levels=levels,
        centres=torch.zeros(2, sum(levels)),
        weights=torch.zeros(count) if weights is None else weights,
        bias=bias,
        threshold=threshold,
        facts={"pairs": 3},
    )


def test_a_look_is_what_a_loop_over_the_cells_sums(loaded, encoded):
    query, logits = encoded
    found = look_at(loaded.network.cells(query), answer(logits))
    side, (rows, columns) = 64, query.grid
    for b in range(2):
        sums, cells = torch.zeros_like(found[b].sums), torch.zeros(2)
        for cell in range(rows * columns):
            r, c = divmod(cell, columns)
            part = logits[b, r * side // rows : (r + 1) * side // rows]
            part = part[:, c * side // columns : (c + 1) * side // columns]
            likely = part.sigmoid().mean()
            weights = torch.stack([(part > 0).float().mean() + SOFT_WEIGHT * likely, 1 - likely])
            high = query.high[b, :, cell]
            unit = torch.cat([query.level_units[b, :, cell], high / high.norm()])
            sums += weights[:, None] * unit
            cells += weights
        torch.testing.assert_close(found[b].sums, sums, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[b].cells, cells, rtol=1e-4, atol=1e-4)


def test_an_empty_mask_is_looked_at_where_it_is_likeliest(loaded, encoded):
    cells = loaded.network.cells(encoded[0])
    logits = torch.full((2, 64, 64), -8.0)
    logits[:, :16, :16] = -1.0
    inside = look_at(cells, answer(logits))[0].means[0]
    filled = look_at(cells, answer(torch.where(logits > -2, 8.0, -20.0)))[0].means[0]
    assert torch.cosine_similarity(inside, filled, dim=0) > 0.99


def test_examples_look_like_the_mean_of_their_cells(loaded):
    loaded.fit([(photo(1), mask()), (photo(2), mask())])
    support = loaded.support.classes["thing"]
    levels, high = loaded.model.head.levels, support.high
    known = loaded.network.known(support)
    look = known.means
    assert known.shots == 2
    torch.testing.assert_close(look[:, : sum(levels)], support.level_means[0].mean(0))
    kept = [cell for shot in high[0] for cell in shot if cell.norm() > 0]
    torch.testing.assert_close(
        look[0, sum(levels) :], torch.stack(kept).mean(0), rtol=1e-4, atol=1e-5
    )
    assert (look[1, sum(levels) :] == 0).all()


@given(seed=st.integers(0, 99))
def test_cosines_are_those_of_each_level(seed):
    generator = torch.Generator().manual_seed(seed)
    look, examples = torch.randn(2, 2, 5, generator=generator)
    expected = [
        float(torch.cosine_similarity(look[region, part], examples[ground, part], dim=0))
        for part in (slice(0, 3), slice(3, 5))
        for ground in (0, 1)
        for region in (0, 1)
    ]
    torch.testing.assert_close(compare(look, examples, LEVELS), torch.tensor(expected))


def test_a_background_that_is_not_known_stays_out():
    sums, examples = torch.randn(2, 2, 5)
    examples[1] = 0
    look = Look(sums, torch.ones(2))
    seen = features(look, Known(examples, 4), levels=LEVELS, centres=torch.randn(2, 5))
    by_level = seen[:-1].view(2, len(LEVELS), 2, 2)  # raw and centred, level, ground, region
    assert (by_level[:, :, 1] == 0).all()
    assert (by_level[:, :, 0] != 0).all()
    assert seen[-1] == 2  # log2 of the examples
    judged = Look(sums, torch.ones(2), logit=0.75)
    more = features(judged, Known(examples, 4), levels=LEVELS, centres=torch.zeros(2, 5))
    assert more[-1] == 0.75
    assert len(more) == len(seen) + 1


def test_the_file_gives_the_same_judge_back(tmp_path):
    kept = presence(weights=torch.linspace(-1, 1, 17), bias=0.25, threshold=0.3)
    kept.save(tmp_path)
    again = load_presence(tmp_path, LEVELS)
    assert (again.levels, again.bias, again.threshold, again.facts) == (
        LEVELS,
        0.25,
        0.3,
        {"pairs": 3},
    )
    torch.testing.assert_close(again.weights, kept.weights, atol=1e-6, rtol=0)


def test_a_judge_of_another_kind_of_head_is_refused():
    """A copied file fits the backbone; only the head has, or has not, a judge of its own."""
    look, known = Look(torch.randn(2, 5), torch.ones(2), logit=0.5), Known(torch.randn(2, 5), 1)
    with pytest.raises(FcpError, match=rf"{PRESENCE_FILE}: of another model"):
        presence().judge(known, look)


def test_a_model_without_the_file_has_no_judge(tmp_path):
    assert load_presence(tmp_path, LEVELS) is None


@pytest.mark.parametrize(
    "change", [{"format": "fcp-presence-9"}, {"weights": "x"}, {"levels": 3}, {"levels": [4, 2]}]
)
def test_a_damaged_file_is_named(tmp_path, change):
    presence().save(tmp_path)
    content = json.loads((tmp_path / PRESENCE_FILE).read_text())
    (tmp_path / PRESENCE_FILE).write_text(json.dumps(content | change))
    with pytest.raises(FcpError, match=rf"{PRESENCE_FILE}: damaged, .*fcp calibrate"):
        load_presence(tmp_path, LEVELS)


def test_no_mutation_of_the_file_ends_in_a_foreign_exception(tmp_path):
    presence().save(tmp_path)
    whole = (tmp_path / PRESENCE_FILE).read_bytes()
    generator = np.random.default_rng(0)
    tokens = [b"null", b"1e999", b"-1", b"[]", b"{}", b'"x"', b"NaN", b"true", b"9" * 400]
    read = 0
    for _ in range(300):
        content = bytearray(whole)
        at = int(generator.integers(len(content)))
        content[at : at + int(generator.integers(12))] = tokens[generator.integers(len(tokens))]
        (tmp_path / PRESENCE_FILE).write_bytes(content)
        with suppress(FcpError):
            judge = load_presence(tmp_path, LEVELS)
            assert all(tensor.isfinite().all() for tensor in (judge.centres, judge.weights))
            read += 1
    assert read < 300


@pytest.fixture
def judging(loaded):
    """A segmenter of two classes, one of which is surely there and the other surely not."""
    model = loaded.model
    levels = (*model.head.levels, model.backbone.high_channels)
    judge = presence(levels, bias=0.0)
    segmenter = FewShotSegmenter(model, device="cpu", presence=judge)
    segmenter.fit(
        {"cat": [(photo(1), mask())], "dog": [(photo(2), mask()[::-1].copy())]}, appearance="off"
    )
    return segmenter


def surely(segmenter, monkeypatch, **probabilities):
    network = segmenter.network
    means = {name: network.known(one).means for name, one in segmenter.support.classes.items()}

    def judge(self, known, look):
        return next(probabilities[name] for name in means if torch.equal(means[name], known.means))

    monkeypatch.setattr(Presence, "judge", judge)


def test_every_class_gets_a_probability(judging):
    found = judging.predict(photo(3))
    assert [one.presence for one in found.classes.values()] == [0.5, 0.5]


def test_an_absent_class_wins_no_pixel_and_leaves_them_to_others(judging, monkeypatch):
    surely(judging, monkeypatch, cat=0.1, dog=0.9)
    both = judging.predict(photo(3), threshold=0, least=ALL)
    found = judging.predict(photo(3), least=ALL)
    assert not found.classes["cat"].here
    assert found.classes["cat"].score == 0
    assert (found.classes["dog"].mask == (both.classes["dog"].logits > 0)).all()
    assert found.classes["dog"].mask.sum() >= both.classes["dog"].mask.sum()


def test_the_threshold_may_be_moved(judging, monkeypatch):
    surely(judging, monkeypatch, cat=0.4, dog=0.6)
    here = {
        threshold: [
            one.here
            for one in judging.predict(photo(3), threshold=threshold, least=ALL).classes.values()
        ]
        for threshold in (0, 0.5, 0.7)
    }
    logits = judging.predict(photo(3), threshold=0).classes
    alone = [bool((one.logits > 0).any()) for one in logits.values()]
    assert here[0.7] == [False, False]
    assert here[0.5] == [False, alone[1]]


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_is_a_probability(judging, threshold):
    with pytest.raises(FcpError, match="threshold: expected a probability"):
        judging.predict(photo(), threshold=threshold)


def test_a_model_that_cannot_judge_says_so(loaded):
    loaded.fit([(photo(), mask())], appearance="off")
    assert loaded.predict(photo(), threshold=0).presence is None
    with pytest.raises(FcpError, match=r"threshold: this model cannot judge presence; .*calibrate"):
        loaded.predict(photo(), threshold=0.5)


def test_each_tile_is_judged_and_what_is_in_any_is_in_the_photo(judging, monkeypatch):
    judging.fit([(photo(1), mask())], tile=40, appearance="off")
    whole = judging.predict(photo(3), threshold=0, least=ALL)
    likely = []

    def judge(self, known, look):
        likely.append(0.9 if len(likely) == 1 else 0.1)  # in the second tile alone
        return likely[-1]

    monkeypatch.setattr(Presence, "judge", judge)
    found = judging.predict(photo(3), least=ALL)
    assert len(likely) > 2
    assert found.presence == 0.9
    assert found.here
    assert 0 < found.mask.sum() < whole.mask.sum()
    assert (found.logits <= whole.logits + 1e-5).all()
    likely[:] = [0.1, 0.1]
    assert not judging.predict(photo(3)).here


def test_the_judge_is_saved_with_the_model(judging, tmp_path):
    judging.save_pretrained(tmp_path)
    again = FewShotSegmenter.from_pretrained(tmp_path, device="cpu")
    assert again.presence.levels == judging.presence.levels


def test_new_weights_in_a_folder_leave_no_judge_of_older_ones(loaded, judging, tmp_path):
    judging.save_pretrained(tmp_path)
    FewShotSegmenter(loaded.model, device="cpu").save_pretrained(tmp_path)
    assert not (tmp_path / PRESENCE_FILE).exists()
