"""`fcp models`: the list as text and as JSON, quick, and measured only where asked."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.inference import cost as module
from fcp.inference.cost import Cost
from fcp.models import catalogue, free
from fcp.models.catalogue import list_models


def run(*arguments):
    return CliRunner().invoke(app, ["models", *arguments])


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Make some of the published weights look installed."""

    def install(*hub_ids):
        def folder(hub_id, cache):
            return tmp_path if hub_id in hub_ids else None

        monkeypatch.setattr(catalogue, "installed_folder", folder)

    install()
    return install


@pytest.fixture
def measured(monkeypatch):
    """Record what is measured instead of measuring it."""
    names = []

    def measure(name, *, device):
        names.append((name, device))
        return Cost("cpu", 1.5, 0.25, 0.75)

    monkeypatch.setattr(module, "measure_cost", measure)
    return names


def test_each_model_is_a_line(installed):
    installed("facebook/dinov3-vitl16-pretrain-lvd1689m")
    done = run()
    assert done.exit_code == 0, done.output
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {facts.name for facts in list_models()} < set(lines)
    assert lines["small"].endswith("yes")
    insid3 = lines["free:insid3+dinov3-vitl16"]
    assert "1.2 GB" in insid3
    assert "DINOv3 License (gated)" in insid3
    assert "COCO-20i 57.6" in insid3
    assert insid3.endswith("yes")
    assert lines["free:gf-sam+dinov2-small+sam2.1-hiera-tiny"].endswith("no")


def test_json_has_all_of_it(installed, measured):
    found = json.loads(run("--json", "tiny", "free:gf-sam", "--measure").stdout)
    assert [model["name"] for model in found] == ["tiny", "free:gf-sam+dinov2-large+sam-vit-huge"]
    assert found[1]["megabytes"] == sum(part["megabytes"] for part in found[1]["downloads"])
    assert not found[1]["installed"]
    assert found[0]["cost"]["seconds_photo"] == 0.25


def test_measures_what_is_installed_or_named(installed, measured):
    installed("facebook/dinov3-vitb16-pretrain-lvd1689m")
    done = run("--measure", "--device", "cpu")
    assert [name for name, _ in measured] == ["small", "tiny", "free:insid3+dinov3-vitb16"]
    assert {device for _, device in measured} == {"cpu"}
    assert "tiny on cpu: 0.25 s a photo, 1.50 s an example, peak memory 0.8 GiB" in done.stdout
    measured.clear()
    run("--measure", "free:persam")
    assert [name for name, _ in measured] == ["free:persam+sam-vit-huge"]


def test_a_name_that_is_none_is_one_line(installed):
    done = run("huge")
    assert done.exit_code == 1
    assert done.stderr.strip().startswith("error: huge: nothing is known of this model")


def test_free_is_what_free_stands_for_here(installed, monkeypatch):
    monkeypatch.setattr(free, "installed_folder", lambda part: None)
    for gib, chosen in ((16, "dinov2-large+sam-vit-huge"), (1, "dinov2-small+sam2.1-hiera-tiny")):
        monkeypatch.setattr(free, "free_memory", lambda device, gib=gib: gib * (device == "cpu"))
        (found,) = json.loads(run("free", "--device", "cpu", "--json").stdout)
        assert found["name"] == f"free:gf-sam+{chosen}"


def test_a_models_own_folder_is_measured(measured, model_folder, vit_folder, tmp_path):
    content = {"format": "fcp-free-1", "name": f"free:insid3+{vit_folder}", "options": {}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    done = run("--measure", str(model_folder), str(tmp_path), "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert measured == [(str(model_folder), "cpu"), (str(tmp_path), "cpu")]
    assert f"{model_folder} on cpu: 0.25 s a photo" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith(f"{model_folder} "))
    assert row.split()[1:] == ["none", "unknown", "–", "yes"]


def test_answers_at_once(command):
    status, errors, imported = command("models")
    assert (status, errors) == (0, [])
    assert not imported & {"torch", "transformers"}  # each takes seconds
