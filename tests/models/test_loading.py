"""Models by name, devices, and the faster form of a model, which answers the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

import fcp.models.loading
from fcp.encoders import places
from fcp.errors import FcpError
from fcp.inference.segmenter import FewShotSegmenter
from fcp.models.loading import find_device, find_model, model_fingerprint


def test_the_faster_form_answers_like_the_model_that_is_saved(model_folder, tmp_path):
    rng = np.random.default_rng(0)
    example, photo = (rng.integers(0, 256, (60, 70, 3), dtype=np.uint8) for _ in range(2))
    mask = np.zeros((60, 70), dtype=bool)
    mask[20:40, 10:50] = True

    segmenter = FewShotSegmenter.from_pretrained(model_folder, device="cpu")
    faster = segmenter.fit([(example, mask)], appearance="off").predict(photo)
    segmenter.save_pretrained(tmp_path)
    assert segmenter.network.running is not segmenter.model
    segmenter.network.running = segmenter.model
    plain = segmenter.fit([(example, mask)], appearance="off").predict(photo)
    assert np.allclose(faster.logits, plain.logits, atol=1e-3)
    assert np.isclose(faster.score, plain.score, atol=1e-3)

    stored = FewShotSegmenter.from_pretrained(tmp_path, device="cpu").model.state_dict()
    kept = segmenter.model.state_dict()
    assert stored.keys() == kept.keys()
    assert all(torch.equal(stored[name], kept[name]) for name in kept)


def test_a_hub_without_the_model_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise LocalEntryNotFoundError("no such thing,\nand nothing in the cache")

    monkeypatch.setattr(fcp.models.loading, "snapshot_download", refuse)
    monkeypatch.setattr(places, "require_hub", lambda _: None)
    with pytest.raises(FcpError, match=r"someone/mine.*no such thing, and nothing"):
        find_model("someone/mine")


@pytest.mark.parametrize("whole", [True, False])
def test_a_whole_model_in_the_hubs_cache_is_taken_without_asking(whole, tmp_path, monkeypatch):
    asked = []

    def download(*_, local_files_only=False, **__):
        asked.append(local_files_only)
        return str(tmp_path)

    monkeypatch.setattr(fcp.models.loading, "snapshot_download", download)
    monkeypatch.setattr(places, "require_hub", lambda _: None)
    for name in ("config.json", "model.safetensors") if whole else ("config.json",):
        (tmp_path / name).touch()
    assert find_model("someone/mine") == tmp_path
    assert asked == ([True] if whole else [True, False])
    asked.clear()
    find_model("someone/mine", force_download=True)
    assert asked[-1] is False


@pytest.mark.parametrize("name", ["no/such/folder", "nothing", "./tiny", Path("a/b"), Path("tiny")])
def test_missing_model_says_what_is_expected(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FcpError, match="no such model folder; expected small, tiny, a folder"):
        find_model(name)


def test_own_folder_called_tiny_is_reached_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    assert find_model("./tiny").samefile(tmp_path / "tiny")


def test_folder_without_a_model_names_the_file(tmp_path):
    with pytest.raises(FcpError, match=r"config\.json"):
        FewShotSegmenter.from_pretrained(tmp_path)


def test_devices():
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(FcpError, match="expected auto"):
        find_device("abacus")
    with pytest.raises(FcpError, match="not available"):
        find_device("meta")


def test_a_card_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(FcpError, match="cuda:7 is not available here"):
        find_device("cuda:7")


@pytest.mark.parametrize("place", ["sam.pth", "sam/model.safetensors", "sam/pytorch_model.bin"])
def test_weights_outside_the_folder_decide_the_fingerprint(model_folder, tmp_path, place):
    folder, weights = tmp_path / "model", tmp_path / place
    weights.parent.mkdir(exist_ok=True)
    shutil.copytree(model_folder, folder)
    plain = model_fingerprint(folder)
    assert plain == model_fingerprint(model_folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["segmenter"]["weights"] = str(tmp_path / Path(place).parts[0])
    (folder / "config.json").write_text(json.dumps(settings))
    seen = {plain, model_fingerprint(folder)}
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        seen.add(model_fingerprint(folder))
    assert len(seen) == 4


def test_unavailable_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FcpError, match="cuda is not available"):
        find_device("cuda")


@pytest.mark.parametrize("name", ["", None, 5, b"tiny"])
def test_what_is_no_name_of_a_model_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # "" is no name for the current folder
    with pytest.raises(FcpError, match="model: expected a name or a folder, got"):
        FewShotSegmenter.from_pretrained(name)


def test_a_device_that_is_no_text_is_refused():
    with pytest.raises(FcpError, match="device: expected auto, cpu, cuda or mps, got None"):
        FewShotSegmenter.from_pretrained("tiny", device=None)
