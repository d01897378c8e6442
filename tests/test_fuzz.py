"""Damaged input of every reader, a little of what ``benchmarks/fuzz.py`` does at length."""

import importlib
import resource
import warnings
from pathlib import Path

import pytest

from fcp.errors import FcpError

FOLDER = Path(__file__).parent.parent / "benchmarks"
MUTATIONS = 25
SLOW = {"config.json": 6}  # builds a model for most


@pytest.fixture
def fuzz(monkeypatch):
    """Return the harness; its readers are in ``fuzz_readers.READERS``."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("fuzz")


@pytest.fixture
def mutation(fuzz):
    return importlib.import_module("fuzz_mutations").mutation


@pytest.fixture
def readers(fuzz):
    return importlib.import_module("fuzz_readers").READERS


def test_damaged_input_gets_one_line(fuzz, readers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [
            finding
            for name in readers
            for finding in fuzz.findings(name, range(SLOW.get(name, MUTATIONS)))
        ]
    assert not found


def spoilt(fuzz, readers, monkeypatch, read):
    """Run a reader that reads so when its file is damaged; return what is found."""
    content = b"whole" * 20

    def make(folder):
        (folder / "a").write_bytes(content)
        return [folder / "a"]

    def read_damaged(folder):
        if (folder / "a").read_bytes() != content:
            read()

    one = type(next(iter(readers.values())))("bytes", make, read_damaged, memory=1 << 19)
    monkeypatch.setitem(readers, read.__name__, one)
    return [one.what for one in fuzz.findings(read.__name__, range(1))]


def test_the_harness_finds_what_is_wrong(fuzz, readers, monkeypatch):
    def key():
        return {}["key"]

    def hang():
        while True:
            pass

    def chatter():
        error = FcpError("a.txt: odd")
        error.args = ("x" * 10_000,)
        raise error

    def much():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        b"x" * (peak + (1 << 20))

    def refuse():
        raise FcpError("a.txt: odd; write it anew")

    said = {
        one.__name__: spoilt(fuzz, readers, monkeypatch, one)
        for one in (key, chatter, much, refuse)
    }
    monkeypatch.setattr(fuzz, "SECONDS", 0.1)
    said["hang"] = spoilt(fuzz, readers, monkeypatch, hang)
    assert said.pop("refuse") == []
    for name, expected in (
        ("key", "KeyError in test_fuzz.py"),
        ("hang", "HangError"),
        ("chatter", "a line of 10,000"),
        ("much", "takes over 0 MB"),
    ):
        (what,) = said[name]
        assert expected in what


def test_a_mutation_depends_on_its_number_alone(mutation, readers, tmp_path):
    files = readers["coco"].make(tmp_path)
    made = [mutation(files, "json", "coco", number, 0) for number in range(30)]
    assert made == [mutation(files, "json", "coco", number, 0) for number in range(30)]
    whole = files[0].read_bytes()
    assert sum(content != whole for _, content in made) > 25
    assert len({content for _, content in made}) > 25
