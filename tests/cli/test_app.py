"""`fcp app`: what it passes on, and what it says; the page itself is tested in tests/app."""

from __future__ import annotations

import os
import socket
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fcp.cli.app
from fcp.cli.main import app
from fcp.data.decode import Decoding
from fcp.data.value_range import ValueRange


def run(*arguments):
    return CliRunner().invoke(app, ["app", *map(str, arguments)])


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(fcp.cli.app, "find_spec", lambda name: None)
    done = run()
    assert done.exit_code == 1
    assert "pip install '.[app]'" in done.stderr


@pytest.fixture
def served(monkeypatch):
    """Note what the server is told, and let nobody wait."""
    pytest.importorskip("gradio", reason="needs gradio; pip install '.[app]'")
    import fcp.app.serve as server

    told = {}

    @contextmanager
    def serve(model, **options):
        told.update(model=model, **options)
        yield server.Served("http://127.0.0.1:1/", None, Path())

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(fcp.cli.app, "_wait", lambda: None)
    return told


def test_it_is_for_this_machine_alone_unless_it_is_told_otherwise(served):
    done = run()
    assert done.exit_code == 0, done.output
    assert "open http://127.0.0.1:1/" in done.stdout
    assert (served["model"], served["host"], served["port"]) == ("small", "127.0.0.1", 7860)
    assert served["share"] is False
    assert served["limits"].total_bytes == 2_000_000_000


def test_options_are_passed_on(served):
    run("--model", "m", "--host", "0.0.0.0", "--port", 99, "--share", "--max-upload-mb", 3)
    assert (served["model"], served["host"], served["port"]) == ("m", "0.0.0.0", 99)
    assert served["share"] is True
    assert served["limits"].total_bytes == 3_000_000
    assert served["threads"] is None
    run("--threads", 3)
    assert served["threads"] == 3


def test_how_pictures_are_read_is_passed_on(served):
    run()
    assert (served["decoding"], served["every_page"]) == (Decoding(), False)
    assert run("--range", "0:4095", "--bands", "4,3,2", "--pages", "all").exit_code == 0
    assert served["decoding"] == Decoding(ValueRange("values", 0, 4095), (4, 3, 2), None)
    assert served["every_page"] is True


def test_options_of_reading_are_checked_before_anything_is_served(served):
    done = run("--range", "dark")
    assert done.exit_code == 1
    assert "--range: expected auto, full, LOW:HIGH" in done.stderr
    assert not served


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ((), ""),
        (("--host", "localhost"), ""),
        (
            ("--host", "0.0.0.0"),
            "0.0.0.0: anybody who can reach it can use the page without a password",
        ),
        (("--share",), "the public address: anybody who can reach it"),
    ],
)
def test_a_page_for_others_is_warned_of(served, options, warned):
    assert run(*options).stderr.startswith(warned)
    assert bool(warned) == ("password" in run(*options).stderr)


def test_a_port_that_is_taken_names_the_option():
    pytest.importorskip("gradio", reason="needs gradio; pip install '.[app]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("--port", taken.getsockname()[1])
    assert done.exit_code == 1
    loading, error = done.stderr.splitlines()
    assert loading == "loading the model …"
    assert "cannot be listened at (Address already in use); choose another --port" in error


def test_it_serves_and_leaves_nothing_behind(monkeypatch, model_folder):
    pytest.importorskip("gradio", reason="needs gradio; pip install '.[app]'")
    from fcp.app.serve import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    with serve(str(model_folder), device="cpu", port=port) as page:
        with urllib.request.urlopen(page.url) as answer:
            text = answer.read().decode()
        assert "fcp" in text
        assert page.share_url is None
        assert "fonts.googleapis" not in text
        assert page.root.is_dir()
    assert not page.root.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "before"


def test_unknown_model_is_one_line(tmp_path):
    pytest.importorskip("gradio", reason="needs gradio; pip install '.[app]'")
    done = run("--model", tmp_path / "nothing")
    assert done.exit_code == 1
    assert "no such model folder" in done.stderr
