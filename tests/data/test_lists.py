"""The list rule against a naive loop, on a small VOC and on the real one."""

import numpy as np
import pytest
from PIL import Image

from fcp.data.folds import base_classes, novel_classes
from fcp.data.lists import holdout_lists, make_lists, train_lists, val_lists
from fcp.data.pascal import PascalVOC


def naive_rows(data, split, allowed, banned):
    """Apply the rule as its sentence reads, mask by mask."""
    rows = []
    for picture in data.ids(split):
        labels = np.array(Image.open(data.mask_path(picture)))
        shown = set(np.unique(labels).tolist()) - {0, 255}
        if shown & set(banned):
            continue
        if any((labels == c).sum() >= 2048 for c in shown & set(allowed)):
            rows.append(picture)
    return tuple(rows)


@pytest.mark.parametrize("fold", range(4))
def test_small_voc_agrees_with_a_naive_loop(mini_voc, fold):
    data = PascalVOC(mini_voc)
    base, novel = base_classes(fold), novel_classes(fold)
    assert val_lists(data, fold).rows == naive_rows(data, "val", novel, ())
    assert train_lists(data, fold).rows == naive_rows(data, "train", base, novel)
    unfiltered = train_lists(data, fold, filtered=False)
    assert unfiltered.rows == naive_rows(data, "train", base, ())


def test_the_rule_at_its_edges(mini_voc):
    data = PascalVOC(mini_voc)
    animals = val_lists(data, 2)
    assert "val_small" not in animals.rows  # 2,047 px
    assert "val_exact" in animals.members[12]  # 2,048 px
    assert animals.members[13] == ()
    first = val_lists(data, 0)
    assert "val_speck" in first.members[1]
    assert "val_speck" not in first.members[2]  # 4 px: present, but not listed under it
    assert first.present["val_speck"] == (1, 2)
    assert "val_mixed" not in first.rows  # one pixel of class 1 alone
    assert "train_mixed" not in train_lists(data, 0).rows  # a single novel pixel
    assert "train_mixed" in train_lists(data, 0, filtered=False).rows


def test_a_picture_is_one_row_but_under_each_kept_class():
    areas = {"p": {3: 2048, 5: 9000, 7: 9000}}
    lists = make_lists(areas, {5: "five", 3: "three", 4: "four"}, min_pixels=2048)
    assert lists.rows == ("p",)
    assert lists.members == {3: ("p",), 4: (), 5: ("p",)}
    assert lists.present == {"p": (3, 5)}


def test_masks_are_scanned_once_per_process(mini_voc):
    assert PascalVOC(mini_voc).areas("val") is PascalVOC(mini_voc).areas("val")


def test_real_val_lists(data_root):
    data = PascalVOC(data_root)
    # Counts hold for the part of VOC that this data root ships; the naive loop holds for any.
    lists = [val_lists(data, fold) for fold in range(4)]
    assert lists[2].rows == naive_rows(data, "val", novel_classes(2), ())
    if len(data.ids("val")) == 344:
        assert [len(fold.rows) for fold in lists] == [31, 118, 163, 69]


def test_real_train_lists(data_root, tmp_path):
    every = PascalVOC(data_root).ids("train")
    some = tmp_path / "some.txt"  # each mask is read twice, which takes long for all
    some.write_text("".join(f"{name}\n" for name in every[:: max(1, len(every) // 200)]))
    data = PascalVOC(data_root, pool_file=some)
    assert data.ids("train") == tuple(some.read_text().split())
    for fold in (0, 2):
        base, novel = base_classes(fold), novel_classes(fold)
        filtered, unfiltered = train_lists(data, fold), train_lists(data, fold, filtered=False)
        assert filtered.rows == naive_rows(data, "train", base, novel)
        assert unfiltered.rows == naive_rows(data, "train", base, ())
        assert set(filtered.rows) < set(unfiltered.rows)


@pytest.mark.parametrize("fold", range(4))
def test_the_hold_out_shows_base_classes_and_not_a_novel_pixel(mini_voc, fold):
    data = PascalVOC(mini_voc)
    expected = naive_rows(data, "val", base_classes(fold), novel_classes(fold))
    assert holdout_lists(data, fold).rows == expected
