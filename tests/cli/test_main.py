"""The command itself: quick help, the version, one line for each failure."""

import json
import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

import fcp
from fcp.cli.main import app

COMMANDS = [
    "segment",
    "app",
    "demo",
    "models",
    "train",
    "evaluate",
    "episodes",
    "import-checkpoint",
]
DATA_COMMANDS = ["pascal", "coco", "lvis", "fss1000", "bsds500", "check", "lists"]
HEAVY = "{'torch', 'transformers', 'numpy', 'PIL', 'huggingface_hub', 'gradio'}"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_needs_no_heavy_import_and_little_beside_typer():
    """What is imported says how soon the help is there, on any machine."""
    code = f"""
import contextlib, io, json, sys, typer

def loaded(app, *command):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        app([*command, "--help"])
    return [len(sys.modules), sorted({HEAVY} & set(sys.modules))]

bare = typer.Typer(rich_markup_mode="rich")
bare.command()(lambda: None)
found = [loaded(bare)]
from fcp.cli.main import app
found += [loaded(app, *command.split()) for command in {["", *COMMANDS, "data"]!r}]
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (bare, _), *ours = json.loads(done.stdout)
    for command, (modules, heavy) in zip(["", *COMMANDS, "data"], ours, strict=True):
        assert heavy == [], f"fcp {command} --help"
        assert modules < 2 * bare, f"fcp {command} --help"


def test_an_empty_word_is_not_taken_for_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("segment", "--support", "examples", "--query", "", "--out", "found")
    assert done.exit_code == 2
    assert "the value after '--query' is empty; is a variable unset?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_loads_no_torch():
    code = "import sys, fcp; fcp.HeadConfig; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_public_names_exist_and_others_do_not():
    assert all(getattr(fcp, name) is not None for name in fcp.__all__)
    assert set(fcp._HOMES) | {"__version__"} == set(fcp.__all__) == set(dir(fcp))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fcp.nothing


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command):
    shown = run(command, "--help")
    assert shown.exit_code == 0
    assert f"fcp {command} " in shown.output or f"fcp {command}\n" in shown.output


@pytest.mark.parametrize("command", DATA_COMMANDS)
def test_every_help_of_data_has_an_example(command):
    shown = run("data", command, "--help")
    assert shown.exit_code == 0
    assert f"fcp data {command} " in shown.output


def test_version():
    assert run("--version").output == f"fcp {metadata.version('fcp-seg')}\n"


def test_no_command_shows_help():
    assert "Usage" in run().output


def test_usage_error_is_status_2():
    assert run("segment", "--out", "x").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_bad_input_is_one_line_on_standard_error(tmp_path):
    failed = run("segment", "--support", tmp_path / "gone", "--query", tmp_path, "--out", tmp_path)
    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert failed.stderr.count("\n") == 1
    assert "gone: no such file or folder" in failed.stderr


@pytest.mark.parametrize("first", [True, False])
def test_debug_shows_the_traceback_wherever_it_stands(tmp_path, first):
    rest = ["segment", "--support", "gone", "--query", str(tmp_path), "--out", str(tmp_path)]
    arguments = ["--debug", *rest] if first else [*rest, "--debug"]
    done = subprocess.run(
        [sys.executable, "-m", "fcp", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "FcpError: gone" in done.stderr
