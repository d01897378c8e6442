"""Lists of classes survive their file."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcp.errors import FcpError
from fcp.formats.text import class_lines, load_annotations, read_lines

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff"))


@given(st.lists(names.filter(lambda name: name and name == name.strip())))
def test_names_survive(listed):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "classes.txt")
        file.write_bytes(class_lines(listed, file))
        assert read_lines(file) == listed


def test_other_peoples_text(write):
    assert read_lines(write("a.txt", b"\xef\xbb\xbfcat \r\n\n dog")) == ["cat", "", "dog"]
    assert read_lines(write("empty.txt", b"")) == []
    with pytest.raises(FcpError, match=r"latin\.txt: not UTF-8 text"):
        read_lines(write("latin.txt", b"caf\xe9"))
    with pytest.raises(FcpError, match=r"gone\.txt: cannot be read"):
        read_lines(Path("gone.txt"))


@pytest.mark.parametrize("name", [" cat", "cat\t", "big\ncat", "big\rcat"])
def test_names_that_a_line_cannot_hold(name):
    with pytest.raises(FcpError, match=r"classes\.txt: a line cannot hold the class name"):
        class_lines(["dog", name], Path("classes.txt"))


def test_annotations_with_a_mark_and_without(write):
    assert load_annotations(write("a.json", b'\xef\xbb\xbf{"a": 1}')) == {"a": 1}
    with pytest.raises(FcpError, match=r"b\.json: not UTF-8 text; save it as UTF-8"):
        load_annotations(write("b.json", '{"a": "é"}'.encode("latin-1")))
    with pytest.raises(FcpError, match=r"c\.json: not valid JSON"):
        load_annotations(write("c.json", "[" * 100_000))
