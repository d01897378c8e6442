"""`fcp label-studio`: what it says before it serves; the rest is tests/label_studio."""

import builtins
import logging
import sys

import pytest
from typer.testing import CliRunner

from fcp.cli.main import app


@pytest.fixture(autouse=True)
def quiet():
    """Undo what the command does to logging."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = handlers, level


def run(*arguments, **env):
    return CliRunner().invoke(app, ["label-studio", *map(str, arguments)], env=env)


def test_wrong_url_and_key_stays_secret(tmp_path):
    answer = run(
        "--folder", tmp_path, "--label-studio-url", "ftp://a", LABEL_STUDIO_API_KEY="secret"
    )
    assert answer.exit_code == 1
    assert "expected a URL of http" in answer.stderr
    assert "secret" not in answer.output + run("--help", LABEL_STUDIO_API_KEY="secret").output


def test_wrong_model_and_folder(tmp_path):
    assert "no such model folder" in run("--folder", tmp_path, "--model", "nothing").stderr
    (tmp_path / "file").touch()
    assert "cannot be made" in run("--folder", tmp_path / "file" / "in").stderr


def test_missing_extra_is_told(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "fcp.label_studio.server", raising=False)
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] in {"starlette", "uvicorn"}:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    answer = run("--folder", tmp_path)
    assert answer.exit_code == 1
    assert "pip install '.[label-studio]'" in answer.stderr


def test_serves_with_what_it_was_given(tmp_path, model_folder, monkeypatch):
    server = pytest.importorskip("fcp.label_studio.server")
    served = []

    def serve(backend, host, port, ready):
        ready(f"http://{host}:{port}")
        served.append((backend, host, port))

    monkeypatch.setattr(server, "serve", serve)
    given = ["--folder", tmp_path / "in" / "side", "--model", model_folder, "--device", "cpu"]
    answer = run(*given, "--host", "0.0.0.0", "--port", 123, LABEL_STUDIO_URL="http://ls:1")
    assert answer.exit_code == 0, answer.output
    assert "http://0.0.0.0:123 waits for Label Studio at http://ls:1" in answer.stdout
    assert "anybody who can reach this address" in answer.stderr
    (backend, host, port) = served[0]
    assert (backend.studio.url, host, port) == ("http://ls:1", "0.0.0.0", 123)
    assert (tmp_path / "in" / "side").is_dir()
