"""The conventional pseudo mask against the full product, cell by cell."""

import torch

from fcp.layers.masked import foreground_cells, take_cells
from fcp.method.fcp.prototypes.prior import conventional_mask, unit_cells


def full_product(support, inside, query):
    """Score every query cell against every support cell; those outside the mask score 0."""
    scores = []
    for q in query.T:
        best = 0.0
        for s, is_inside in zip(support.T, inside, strict=True):
            cosine = float(s @ q) / ((float(s.norm()) + 1e-7) * (float(q.norm()) + 1e-7))
            best = max(best, cosine if is_inside else 0.0)
        scores.append(best)
    return torch.tensor(scores)


def cells_of(high, inside):
    """(B, K, Ch, L), (B, K, L) → (B, K, n, Ch)."""
    index, kept = foreground_cells(inside.flatten(0, 1))
    units = unit_cells(take_cells(high.flatten(0, 1), index)) * kept[:, None]
    return units.mT.unflatten(0, high.shape[:2])


def test_equals_the_full_product():
    torch.manual_seed(0)
    support, query = torch.randn(2, 3, 5, 16), torch.randn(2, 5, 16)
    inside = torch.rand(2, 3, 16) > 0.6
    inside[0, 1] = True
    found = conventional_mask(cells_of(support, inside), query)
    for b in range(2):
        for k in range(3):
            expected = full_product(support[b, k], inside[b, k], query[b])
            torch.testing.assert_close(found[b, k], expected, atol=1e-6, rtol=1e-5)


def test_one_support_serves_all_queries():
    support, query = torch.randn(1, 2, 5, 16), torch.randn(3, 5, 16)
    cells = cells_of(support, torch.rand(1, 2, 16) > 0.3)
    expected = torch.cat([conventional_mask(cells, q[None]) for q in query])
    torch.testing.assert_close(conventional_mask(cells, query), expected)


def test_opposite_and_zero_features_score_zero():
    support = torch.ones(1, 1, 4, 2)
    support[..., 1] = 0
    cells = cells_of(support, torch.ones(1, 1, 2).bool())
    query = torch.stack([-torch.ones(4), torch.zeros(4), torch.ones(4)], 1)[None]
    torch.testing.assert_close(
        conventional_mask(cells, query), torch.tensor([[[0.0, 0.0, 1.0]]]), atol=1e-6, rtol=0
    )


def test_gradient_is_finite_at_zero():
    query = torch.zeros(1, 4, 3, requires_grad=True)
    conventional_mask(torch.rand(1, 1, 2, 4), query).sum().backward()
    assert query.grad.isfinite().all()
