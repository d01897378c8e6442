"""Shares of a step: all positions, each once, whatever their number."""

import pytest

from fcp.engine.share import Share


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6, 12])
def test_parts_cover_the_batch_once(parts):
    positions = [at for part in range(parts) for at in Share(5, part, parts).positions(12)]
    assert positions == list(range(12))
