"""Two models that give other scores have other cards."""

import json
import shutil
from dataclasses import asdict

import pytest

from fcp.evaluation.episode_counts import EpisodeDraw
from fcp.evaluation.report import make_card


@pytest.fixture
def card_of(shapes):
    """Return a function that makes the lines of a model's card."""

    def make(model):
        run = EpisodeDraw(None, 0)
        given = {"shots": 1, "episode_sha256": "e", "sampler": "by dice"}
        return asdict(make_card(shapes, run, model_folder=model, **given))

    return make


def differing(one, other):
    return {name for name, value in one.items() if other[name] != value}


def test_other_settings_are_another_model(card_of, model_folder, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    before = card_of(model_folder)
    assert card_of(copy) == before
    settings = json.loads((copy / "config.json").read_text())
    settings["image_size"] = 96
    (copy / "config.json").write_text(json.dumps(settings))
    assert differing(before, card_of(copy)) == {"config_sha256", "image_size"}
    assert (before["image_size"], card_of(copy)["image_size"]) == (64, 96)


def test_a_trained_method_has_its_size(card_of, tmp_path):
    settings = {"format": "fcp-trained-1", "method": "pfenet", "options": {}, "image_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert card_of(tmp_path)["image_size"] == 64


def test_an_encoder_of_a_folder_is_hashed_and_unknown(card_of, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = card_of(f"free:insid3+{tmp_path}")
    assert before["seen_in_training"] == "unknown"
    assert before["checkpoint_sha256"].startswith("none: encoders of unknown training")
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert differing(before, card_of(f"free:insid3+{tmp_path}")) == {"encoders_sha256"}


def test_a_method_on_published_encoders_is_told_by_its_name(card_of):
    card = card_of("free:persam")
    assert card["seen_in_training"] == "none of the tested classes"
    assert card["encoders_sha256"].startswith("none: ")
    assert card_of("free:insid3+someone/encoder")["seen_in_training"] == "unknown"


def test_weights_beside_the_model_are_hashed(card_of, model_folder, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    file = tmp_path / "backbone.pth"
    file.write_bytes(b"one")
    settings = json.loads((copy / "config.json").read_text())
    settings["backbone"]["weights"] = str(file)
    (copy / "config.json").write_text(json.dumps(settings))
    before = card_of(copy)
    file.write_bytes(b"other")
    assert differing(before, card_of(copy)) == {"encoders_sha256"}
