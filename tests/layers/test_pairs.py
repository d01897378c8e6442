"""Pairs of query and shot, against loops."""

import pytest
import torch

from fcp.layers.pairs import repeat_query, repeat_support


@pytest.mark.parametrize(("queries", "shots"), [(1, 1), (1, 3), (2, 1), (2, 3)])
def test_pairs_go_query_by_query_and_shot_by_shot(queries, shots):
    query, support = torch.randn(queries, 4, 5), torch.randn(queries, shots, 6)
    pairs = [(b, k) for b in range(queries) for k in range(shots)]
    assert torch.equal(repeat_query(query, shots), torch.stack([query[b] for b, _ in pairs]))
    repeated = repeat_support(support, queries)
    assert torch.equal(repeated, torch.stack([support[b, k] for b, k in pairs]))


def test_one_task_serves_all_queries():
    support = torch.randn(1, 2, 6)
    assert torch.equal(repeat_support(support, 3), support[0].repeat(3, 1))


def test_a_single_query_is_not_copied():
    query = torch.randn(1, 4, 5)
    assert repeat_query(query, 7).data_ptr() == query.data_ptr()
