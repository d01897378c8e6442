"""Bootstrap intervals against the textbook's error of a mean, and draws that keep their strata."""

import numpy as np
import pytest

from fcp.reproduce.bootstrap import bootstrap, mean_over_groups


def test_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = mean_over_groups(list(values), range(400))
    error = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.15 * error)


def test_copies_in_a_group_add_no_certainty():
    values = list(np.random.default_rng(2).normal(size=30))
    once = mean_over_groups(values, range(30))
    thrice = mean_over_groups([v for v in values for _ in range(3)], np.repeat(range(30), 3))
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx(
        (once.value, once.low, once.high)
    )


def test_groups_of_unequal_size_keep_the_mean_over_values():
    assert mean_over_groups([1, 1, 1, 5], ["a", "a", "a", "b"]).value == 2


def test_each_stratum_keeps_its_number_and_nan_is_left_out():
    strata = ["a", "b", "a", "b", "b"]
    seen = []

    def statistic(drawn):
        seen.append(drawn.copy())
        return float("nan") if len(seen) % 2 else 3.0

    found = bootstrap(statistic, strata)
    assert (found.low, found.high) == (3, 3)
    assert all(drawn[[0, 2]].sum() == 2 and drawn[[1, 3, 4]].sum() == 3 for drawn in seen)
    assert len({tuple(drawn) for drawn in seen}) > 10


def test_same_seed_same_interval():
    values = list(range(20))
    assert mean_over_groups(values, values) == mean_over_groups(values, values)
