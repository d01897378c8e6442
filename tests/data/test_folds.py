"""The fold table is PASCAL-5i's."""

import pytest

from fcp.data.folds import ALL_PASCAL_IDS, PASCAL_CLASSES, base_classes, novel_classes
from fcp.errors import FcpError


def test_folds_part_the_classes_in_voc_order():
    assert [novel_classes(fold)[0] for fold in range(4)] == [1, 6, 11, 16]
    assert sum((novel_classes(fold) for fold in range(4)), ()) == ALL_PASCAL_IDS
    for fold in range(4):
        assert sorted(base_classes(fold) + novel_classes(fold)) == list(ALL_PASCAL_IDS)


def test_names():
    assert len(set(PASCAL_CLASSES)) == 20
    names = [PASCAL_CLASSES[c - 1] for c in novel_classes(1)]
    assert names == ["bus", "car", "cat", "chair", "cow"]
    assert PASCAL_CLASSES[19] == "tvmonitor"


@pytest.mark.parametrize("fold", [-1, 4])
def test_other_folds_are_refused(fold):
    with pytest.raises(FcpError, match=f"fold: expected 0 … 3, got {fold}"):
        novel_classes(fold)
