"""The fold table is PASCAL-5i's."""

import pytest

from fcp.data.coco import Coco
from fcp.data.folds import (
    ALL_PASCAL_IDS,
    PASCAL_CLASSES,
    PASCAL_IDS_IN_COCO,
    PASCAL_IN_COCO,
    base_classes,
    novel_classes,
    pascal_folds_of_coco,
)
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


def test_classes_of_voc_have_their_ids_in_coco(data_root):
    names = Coco(data_root).classes
    expected = [PASCAL_IN_COCO.get(name, name) for name in PASCAL_CLASSES]
    assert [names[class_id] for class_id in PASCAL_IDS_IN_COCO] == expected


def test_a_fold_of_coco_tests_classes_of_several_folds_of_voc():
    expected = [(0, 1, 2), (0, 1, 2, 3), (0, 1, 3), (0, 1, 2)]
    assert [pascal_folds_of_coco(fold) for fold in range(4)] == expected


@pytest.mark.parametrize("fold", [-1, 4])
def test_other_folds_are_refused(fold):
    with pytest.raises(FcpError, match=f"fold: expected 0 … 3, got {fold}"):
        novel_classes(fold)
