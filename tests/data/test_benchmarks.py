"""Data sets by name, and all of those that a folder holds."""

import shutil
from pathlib import Path

import pytest

from fcp.data.benchmarks import BENCHMARKS, find_benchmarks, name_of, open_benchmark
from fcp.data.sources import BSDS500, SOURCES
from fcp.errors import FcpError


def test_a_name_that_is_none_lists_the_others(tmp_path):
    with pytest.raises(FcpError, match=r"expected one of pascal5i, .*, folder, got 'voc'"):
        open_benchmark("voc", tmp_path)
    with pytest.raises(FcpError, match="only pascal5i has a list"):
        open_benchmark("coco20i", tmp_path, pool=tmp_path / "pool.txt")


def test_all_that_is_there_is_found_and_the_rest_says_where_it_is(mini_root):
    found, absent = find_benchmarks(mini_root)
    assert set(found) == {"pascal5i", "objects"}
    assert [name_of(data) for data in found.values()] == list(found)
    assert set(absent) == {*SOURCES, "bsds500"} - set(found)
    assert absent["bsds500"].endswith(BSDS500.advice())
    assert absent["fss1000"] == (
        "no FSS-1000/; get fewshot_data.zip (https://github.com/HKUSTCV/FSS-1000), then: "
        "fcp data fss1000 fewshot_data.zip --out DATA"
    )


def test_objects_that_cannot_be_read_hide_no_other_data(mini_voc, tmp_path):
    shutil.copytree(mini_voc, tmp_path / "root", symlinks=True)
    (tmp_path / "root/objects").mkdir()
    found, absent = find_benchmarks(tmp_path / "root")
    assert set(found) == {"pascal5i"}
    assert "manifest.json: cannot be read" in absent["objects"]


def test_bsds500_is_no_benchmark_and_missed_where_it_is_not(mini_voc):
    found, absent = find_benchmarks(mini_voc)
    assert "bsds500" not in {*found, *absent}


def test_a_layout_that_is_not_whole_says_what_is_missing(tmp_path):
    (tmp_path / "VOC2012/JPEGImages").mkdir(parents=True)
    found, absent = find_benchmarks(tmp_path)
    assert found == {}
    assert "SegmentationClassAug: no such folder" in absent["pascal5i"]
    assert "then: fcp data pascal" in absent["pascal5i"]


def test_a_data_set_given_for_its_root_is_sent_one_folder_up(mini_voc):
    with pytest.raises(FcpError, match=f"give the folder that holds it, {mini_voc.resolve()}$"):
        find_benchmarks(mini_voc / "VOC2012")


def test_classes_of_ones_own_count_where_nothing_else_is(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "cat" / kind).mkdir(parents=True)
        (tmp_path / "cat" / kind / "a.png").touch()
    assert set(find_benchmarks(tmp_path)[0]) == {"folder"}
    assert find_benchmarks(tmp_path / "cat")[0] == {}
    with pytest.raises(FcpError, match="gone: no such folder"):
        find_benchmarks(tmp_path / "gone")


def test_every_source_is_a_benchmark_and_stands_on_the_page():
    page = (Path(__file__).parents[2] / "docs/data.md").read_text("utf-8")
    assert set(SOURCES) <= set(BENCHMARKS)
    for source in (*SOURCES.values(), BSDS500):
        assert source.page in page
        for download in source.downloads:
            row = next(line for line in page.splitlines() if f"`{download.name}`" in line)
            assert download.url in row
            assert download.md5 is None or download.md5 in row
            assert download.gigabytes is None or f"{download.gigabytes:g} GB" in row
