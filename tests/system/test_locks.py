"""A folder has one run at a time, and a run that died does not keep others out."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fcp.errors import FcpError
from fcp.system.locks import LOCK_FILE, hold_folder

HOLDER = """
import sys
from pathlib import Path
from fcp.system.locks import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds ``tmp_path / "out"`` until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_another_process_is_refused_until_the_first_ends(holder, tmp_path):
    out = tmp_path / "out"
    with (
        pytest.raises(FcpError, match=r"out: another run is writing to it; wait"),
        hold_folder(out),
    ):
        pass
    holder.communicate()
    with hold_folder(out):
        assert out.is_dir()


def test_a_killed_process_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "out" / LOCK_FILE).exists()
    with hold_folder(tmp_path / "out"):
        pass


def test_created_folders_go_unless_something_is_in_them(tmp_path):
    with hold_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).exists()
    assert not (tmp_path / "a").exists()
    with hold_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "result").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result"]


def test_those_who_wait_get_a_folder_that_others_remove(tmp_path):
    """Each holder removes the folder that it has made, while the next one waits for it."""
    inside = []

    def hold():
        for _ in range(10):
            with hold_folder(tmp_path / "a/b", waits=True):
                inside.append(1)
                assert len(inside) == 1
                inside.clear()

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(hold) for _ in range(3)]:
            done.result(60)
    assert not list(tmp_path.rglob("*.lock"))


def test_a_folder_that_was_there_stays_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), hold_folder(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_its_place_is_named(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(FcpError, match=r"out: cannot be written"), hold_folder(tmp_path / "out"):
        pass
