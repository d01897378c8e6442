"""Visitors are apart, and nothing of theirs outlives them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest

from fcp.app import sessions
from fcp.app.limits import Limits
from fcp.app.sessions import IDLE_SECONDS, PREFIX, SessionStore
from fcp.errors import FcpError


@pytest.fixture
def store(tmp_path) -> SessionStore:
    return SessionStore(tmp_path, Limits(sessions=3))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_visitor_has_a_folder_that_the_key_does_not_name(store, tmp_path):
    keys = ["a", "../../evil", ""]
    begun = [store.begin(key) for key in keys]
    assert [store.begin(key) for key in keys] == begun
    folders = {session.folder for session in begun}
    assert len(folders) == 3
    assert all(f.parent == tmp_path and f.name.startswith(PREFIX) for f in folders)
    assert names(tmp_path) == {folder.name for folder in folders}


def test_too_many_visitors_are_told(store):
    for key in "abc":
        store.begin(key)
    with pytest.raises(FcpError, match="too many visitors"):
        store.begin("d")
    store.close("a")
    store.begin("d")


def test_folder_goes_at_the_end_of_the_visit(store, tmp_path):
    stays, goes = store.begin("stays"), store.begin("goes")
    store.close("goes")
    store.close("unknown")
    assert not goes.folder.exists()
    assert stays.folder.exists()
    assert store.begin("goes").folder != goes.folder
    store.close_all()
    assert names(tmp_path) == set()


def test_a_visit_whose_connection_was_lost_goes_on(visits, asking):
    with visits.visit(asking) as session:
        (session.folder / "cat.jpg").touch()
    visits.leave(asking)
    with visits.visit(asking) as again:
        assert again is session
        assert (again.folder / "cat.jpg").exists()


def test_a_visitor_who_does_not_come_back_is_gone_after_a_while(store, monkeypatch):
    monkeypatch.setattr(sessions, "AWAY_SECONDS", 0.3)
    stays, uses, goes = (store.begin(key) for key in ("stays", "uses", "goes"))
    with uses.work():
        store.leave("uses"), store.leave("goes"), store.leave("unknown")
        wait_until(lambda: not goes.folder.exists())
        time.sleep(0.5)
        assert uses.folder.exists()
    assert uses.folder.exists()
    wait_until(lambda: not uses.folder.exists())
    assert stays.folder.exists()
    with pytest.raises(FcpError, match="visit has ended"):
        store.get("goes")


def test_pages_that_were_lost_make_room_for_new_ones(store):
    one, two, three = (store.begin(key) for key in "abc")
    store.leave("b"), store.leave("c")
    two.last_used -= 10
    store.begin("d")
    assert [session.folder.exists() for session in (one, two, three)] == [True, False, True]
    store.begin("e")
    assert not three.folder.exists()
    with pytest.raises(FcpError, match="too many visitors"):
        store.begin("f")


def test_only_the_load_of_the_page_begins_a_visit(visits, asking):
    visits.store.close("a")
    ended = "this visit has ended; load the page again"
    with pytest.raises(gr.Error, match=ended), visits.visit(asking):
        pass
    with pytest.raises(FcpError, match=ended):
        visits.store.get("a")
    visits.arrive(asking)
    with visits.visit(asking) as session:
        assert session is visits.store.get("a")


def test_folder_outlives_the_work_in_it_and_no_longer(store):
    session = store.begin("a")
    with session.work():
        with session.work():
            store.close("a")
            assert session.folder.exists()
        assert session.folder.exists()
    assert not session.folder.exists()
    with pytest.raises(FcpError, match="visit has ended"), session.work():
        pass


def test_uploads_beside_the_folders_go_with_the_last_visitor(store, tmp_path):
    store.begin("a"), store.begin("b")
    (tmp_path / "0123abcd").mkdir()
    (tmp_path / "0123abcd" / "cat.jpg").touch()
    (tmp_path / "tmp_upload").touch()
    store.close("a")
    assert {"0123abcd", "tmp_upload"} <= names(tmp_path)
    store.close("b")
    assert names(tmp_path) == set()


def test_visits_whose_end_was_never_heard_of_are_swept(store):
    idle, busy = store.begin("idle"), store.begin("busy")
    with busy.work():
        for session in (idle, busy):
            session.last_used -= 2 * IDLE_SECONDS
        store.begin("new")
        assert not idle.folder.exists()
        assert busy.folder.exists()


def test_numbers_never_repeat(store):
    session, seen = store.begin("a"), []
    threads = [
        threading.Thread(target=lambda: seen.extend(session.number() for _ in range(50)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 201))


def test_errors_are_told_without_the_server_s_folders(store):
    session = store.begin("a")
    error = FcpError(f"{session.folder}/photos/cat.jpg: damaged; {session.folder}/run1/x/y.png")
    assert session.public_text(error) == "cat.jpg: damaged; y.png"


def test_errors_are_told_with_the_visitors_names(store):
    session = store.begin("a")
    photo, longer = (session.photos_in.folder / name for name in ("A.jpg", "A.jpg_small"))
    session.originals.update({photo: "trip/【A】.jpg", longer: "【A】.jpg_small"})
    error = FcpError(f"{longer}: damaged; {photo}: the file is empty")
    assert (
        session.public_text(error) == "【A】.jpg_small: damaged; trip/【A】.jpg: the file is empty"
    )


def test_a_run_needs_photos_and_examples(store):
    with pytest.raises(FcpError, match="no example yet"):
        store.begin("a").start_run(None, tile=None, instances=False)
    with pytest.raises(FcpError, match="no results yet"):
        store.begin("a").finished_run()
