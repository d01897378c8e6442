"""Visitors leave and come back, in a real Chromium."""

from __future__ import annotations

import threading
import time

import pytest
from page_steps import (
    PATIENCE,
    add_example,
    captions,
    in_editor,
    load_examples,
    load_photos,
    prepared,
    run,
    start,
)

from fcp.app import sessions
from fcp.app.sessions import SessionStore

# A page that draws by CPU alone is slow on a busy machine.
pytestmark = pytest.mark.timeout(400)


def test_closed_tab_ends_its_run_and_no_other(visit, served, demo_files, many, monkeypatch):
    monkeypatch.setattr(sessions, "AWAY_SECONDS", 1.0)
    stays, goes = visit(), visit()
    prepared(goes, demo_files, many)
    prepared(stays, demo_files, [demo_files["camera"], demo_files["coins"]])
    folders = [path for path in served.root.glob("visitor-*") if any(path.glob("photos/0.png"))]
    assert len(folders) == 1
    start(goes)
    goes.close()
    run(stays)
    stays.locator("#results .caption-label").nth(1).wait_for()
    assert len(captions(stays)) == 2
    deadline = time.monotonic() + PATIENCE / 1000
    while folders[0].exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folders[0].exists()
    assert list(served.root.glob("visitor-*"))


def test_what_was_marked_outlives_a_lost_connection(visit, demo_files, monkeypatch):
    lost, leave = threading.Event(), SessionStore.leave

    def leave_and_tell(store, key):
        leave(store, key)
        lost.set()

    monkeypatch.setattr(SessionStore, "leave", leave_and_tell)
    page = visit()
    load_examples(page, demo_files["astronaut"])
    page.mouse.click(*in_editor(page, (512, 512))(230, 110))
    add_example(page, "face", "Points: click on the object")
    page.evaluate("window.stop()")  # ends the page's connections, as a phone that sleeps does
    assert lost.wait(PATIENCE / 1000)
    load_photos(page, demo_files["grace_hopper"], expected=1)
    run(page)
    assert len(captions(page)) == 1
