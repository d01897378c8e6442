"""The page as a file: what is in it, that nothing in it can run, and that it is whole or absent."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import weakref
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcp.errors import FcpError
from fcp.report.entries import ReportClass, ReportPicture
from fcp.report.write import write_report
from fcp.visualize import class_colours


class Reader(HTMLParser):
    """Reads a page as a browser does: its tags in order, the texts of scripts, the comments."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple]] = []
        self.texts: dict[str, str] = {}
        self.comments: list[str] = []
        self._inside = ""
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, tuple(attrs)))
        self._inside = dict(attrs).get("id", tag) if tag in {"script", "style"} else ""
        if dict(attrs).get("id") == "thumbnails":
            self.comments = []

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def write(path: Path, pictures=(), *, title="t", facts=None, names=("dog",)) -> None:
    write_report(path, pictures, title=title, facts=facts or {}, colours=class_colours(names))


def test_page_holds_what_it_was_given(report, pictures, thumbnail):
    page = Reader(report)
    run, entries = json.loads(page.texts["run"]), json.loads(page.texts["pictures"])
    assert run["title"] == "A trip"
    assert run["facts"] == [["Model", "tiny"], ["Examples", "3 of each"]]
    assert [c["name"] for c in run["classes"]] == ["dog", "cat", "ball"]
    assert run["classes"][0]["colour"] == "#e6283c"
    assert [e["file"] for e in entries] == [p.file for p in pictures]
    assert [e["error"] for e in entries] == [p.error for p in pictures]
    dog = {"class": 0, "score": 0.3663, "presence": 0.501, "here": True, "area": 0.001, "px": 2}
    assert entries[1]["classes"][0] == dog
    kept = [p.thumbnail for p in pictures]
    assert [base64.b64decode(c) or None for c in page.comments] == kept


def test_only_our_script_and_style_may_be_used(report):
    page = Reader(report)
    policy = next(
        dict(attrs)["content"]
        for tag, attrs in page.tags
        if tag == "meta" and attrs[0][0] == "http-equiv"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("script", "style"):
        digest = hashlib.sha256(page.texts[kind].encode()).digest()
        assert rules[f"{kind}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"


def test_page_needs_no_other_file(report):
    page = Reader(report)
    attributes = [pair for _, attrs in page.tags for pair in attrs]
    assert not [
        name for name, _ in attributes if name in {"src", "srcset", "data", "action", "style"}
    ]
    assert [value for name, value in attributes if name == "href"] == ["#results"]
    assert not re.search(r"url\(|@import|https?://|fetch\(|innerHTML|{{", report.read_text("utf-8"))


def test_hostile_names_change_no_tag(hostile_report, report):
    assert Reader(hostile_report).tags == Reader(report).tags


@given(st.text(st.characters(exclude_categories=[])))
def test_any_name_comes_back_as_it_was(tmp_path_factory, name):
    path = tmp_path_factory.getbasetemp() / "any.html"
    found = ReportClass(name, 0.5, None, True, 0.1, 9)
    entry = ReportPicture(name, None, (found,), 0.1, name)
    write(path, [entry], title=name, facts={name: name}, names=[name])
    page = Reader(path)
    run, entries = json.loads(page.texts["run"]), json.loads(page.texts["pictures"])
    assert (run["title"], run["facts"], run["classes"][0]["name"]) == (name, [[name, name]], name)
    assert (entries[0]["file"], entries[0]["error"]) == (name, name)


def test_no_photos_at_all(tmp_path):
    write(tmp_path / "r.html")
    page = Reader(tmp_path / "r.html")
    assert json.loads(page.texts["pictures"]) == []
    assert page.comments == []


def test_photos_are_taken_one_at_a_time(tmp_path, thumbnail):
    alive: list[weakref.ref] = []

    def make():
        for number in range(9):
            made = ReportPicture(f"{number}.jpg", thumbnail, (), 0.1, None)
            alive.append(weakref.ref(made))
            yield made
            assert sum(ref() is not None for ref in alive) <= 2

    write(tmp_path / "r.html", make())
    assert len(alive) == 9


def test_an_exception_leaves_the_page_before(tmp_path, thumbnail):
    def stop():
        yield ReportPicture("a.jpg", thumbnail, (), 0.1, None)
        raise KeyboardInterrupt

    (tmp_path / "r.html").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "r.html", stop())
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]


def test_an_error_of_the_photos_is_not_called_one_of_the_page(tmp_path):
    def missing():
        yield ReportPicture("a.jpg", (tmp_path / "gone.jpg").read_bytes(), (), 0.1, None)

    with pytest.raises(FileNotFoundError):
        write(tmp_path / "r.html", missing())
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FcpError, match=r"gone/r\.html: cannot be written"):
        write(tmp_path / "gone/r.html")


def test_class_without_colour_is_refused(tmp_path):
    entry = ReportPicture("a.jpg", None, (ReportClass("cat", 0.5, None, True, 0.1, 9),), 0.1, None)
    with pytest.raises(ValueError, match=r"a\.jpg: class 'cat' has no colour"):
        write(tmp_path / "r.html", [entry])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("values", [(1.1, None, 0), (None, -0.1, 0), (None, None, float("nan"))])
def test_numbers_outside_their_range_are_refused(values):
    score, presence, area = values
    with pytest.raises(ValueError, match=r"ReportClass 'dog': .* is not in 0 … 1"):
        ReportClass("dog", score, presence, True, area, 9)
