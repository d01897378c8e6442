"""Words of messages."""

import pytest

from fcp.system.words import counted


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0, "photo"), "0 photos"),
        ((1, "photo"), "1 photo"),
        ((1200, "photo"), "1,200 photos"),
        ((1, "class", "classes"), "1 class"),
        ((2, "class", "classes"), "2 classes"),
    ],
)
def test_the_noun_follows_the_number(given, expected):
    assert counted(*given) == expected
