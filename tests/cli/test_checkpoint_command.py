"""`fcp import-checkpoint` hands over what was typed; the conversion has its own tests."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.config import SegmenterConfig


@pytest.mark.parametrize(
    ("typed", "kind"),
    [("sam.pth", "sam"), ("./sam.pth", "sam2"), ("facebook/sam-vit-base", "sam")],
)
def test_arguments_reach_the_conversion(monkeypatch, tmp_path, typed, kind):
    monkeypatch.chdir(tmp_path)
    Path("sam.pth").touch()
    received = {}
    monkeypatch.setattr(
        "fcp.models.checkpoint.import_checkpoint",
        lambda file, out, *, segmenter: received.update(file=file, out=out, segmenter=segmenter),
    )
    arguments = ["import-checkpoint", "best.pt", "--out", "model", "--segmenter", typed]
    more = [] if kind == "sam" else ["--segmenter-kind", kind]
    done = CliRunner().invoke(app, [*arguments, *more])
    assert done.exit_code == 0, done.output
    assert received == {
        "file": Path("best.pt"),
        "out": Path("model"),
        "segmenter": SegmenterConfig(
            name=kind, weights=str(tmp_path / "sam.pth") if typed.endswith(".pth") else typed
        ),
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [("--segmenter-kind", "tiny"), ("--image-size", "8193"), ("--image-size", "31")],
)
def test_values_that_no_model_can_have_are_refused(option, value, tmp_path):
    arguments = ["import-checkpoint", "best.pt", "--method", "pfenet", option, value]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "model")])
    assert done.exit_code == 2, done.output
    assert f"Invalid value for '{option}'" in " ".join(done.stderr.split())


def test_missing_checkpoint_is_one_line(tmp_path):
    arguments = ["import-checkpoint", str(tmp_path / "gone.pt"), "--out", str(tmp_path / "model")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "gone.pt" in done.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("method", ["fcp", "pfenet", "base-learner"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "presence.json"])
def test_a_folder_with_a_model_is_not_overwritten(tmp_path, method, name):
    (tmp_path / name).write_bytes(b"mine")
    arguments = ["import-checkpoint", "best.pt", "--method", method, "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stderr.strip().endswith(f"{tmp_path}: holds a model already; choose another --out")
    assert (tmp_path / name).read_bytes() == b"mine"
