"""The page's folder: gone however the page ends, and never another live page's."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

if sys.platform != "win32":
    import fcntl

from fcp.app.place import RECORD, place_of_a_page, remove_dead

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs locks of files")

PAGE = """
import fcp.app.place, fcp.cli.stop, signal, sys
# Tests that run in the background inherit these two signals as ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with fcp.cli.stop.stoppable(), fcp.app.place.place_of_a_page() as root:
    (root / "upload.png").write_text("somebody's")
    print(root, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Return a function that starts a page of its own process, and tells it and its folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    pages = []

    def start():
        page = subprocess.Popen(
            [sys.executable, "-c", PAGE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        pages.append(page)
        return page, Path(page.stdout.readline().strip())

    yield start
    for page in pages:
        page.kill()
        page.communicate()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_page_that_is_ended_takes_its_uploads_along(begin, name, tmp_path):
    page, files = begin()
    assert (files / "upload.png").is_file()
    page.send_signal(getattr(signal, name))
    page.wait(60)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_starts_is_no_dead_one(tmp_path, monkeypatch):
    """Another page looks for dead ones just before the new record is locked."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lock = fcntl.flock

    def look_first(*how):
        monkeypatch.setattr(fcntl, "flock", lock)
        remove_dead(tmp_path)
        lock(*how)

    monkeypatch.setattr(fcntl, "flock", look_first)
    with place_of_a_page() as files:
        assert files.is_dir()


def test_the_next_page_removes_what_a_killed_one_left(begin, tmp_path):
    alive, kept = begin()
    killed, left = begin()
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    assert left.is_dir()
    (tmp_path / "fcp-app-being-made").mkdir()
    (tmp_path / "fcp-app-a-file").write_text("somebody's own")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / RECORD).write_text("1\n")
    (tmp_path / "fcp-app-link").symlink_to(tmp_path / "elsewhere")
    with place_of_a_page() as files:
        assert files.is_dir()
        remove_dead(tmp_path)  # not even by itself
        assert files.is_dir()
    assert not files.parent.exists()
    assert not left.parent.exists()
    assert (kept / "upload.png").is_file()
    assert alive.poll() is None
    assert (tmp_path / "elsewhere" / RECORD).is_file()
    assert (tmp_path / "fcp-app-a-file").is_file()
    assert (tmp_path / "fcp-app-being-made").is_dir()
