"""Published encoders from a folder, from the hub's cache, and without any network."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from huggingface_hub import constants, snapshot_download
from transformers import Dinov2Config, Dinov2Model, Sam2Config, Sam2Model, SamConfig, SamModel

from fcp.encoders import places
from fcp.encoders.cells import build_cells
from fcp.encoders.hub import find_weight_file, load_config, load_model
from fcp.encoders.places import find_folder, installed_folder
from fcp.encoders.published import load_segmenter
from fcp.encoders.sam import Sam
from fcp.encoders.sam2 import Sam2
from fcp.errors import FcpError
from fcp.method.registry import load_method
from fcp.models.loading import find_model

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def in_cache(cache: Path, hub_id: str) -> Path:
    """Make the folder of a model as the hub's client lays it out."""
    entry = cache / f"models--{hub_id.replace('/', '--')}"
    commit = "a" * 40
    (entry / "refs").mkdir(parents=True)
    (entry / "refs/main").write_text(commit)
    snapshot = entry / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


@pytest.fixture
def dino(tmp_path) -> Dinov2Model:
    """A toy model whose weights lie in the cache in several shards."""
    model = Dinov2Model(Dinov2Config(**SIZES, image_size=112, patch_size=14)).eval()
    model.save_pretrained(in_cache(tmp_path, "me/dino"), max_shard_size="20KB")
    return model


def test_shards_in_the_cache_are_found_and_loaded(tmp_path, dino, images):
    folder = find_folder("me/dino", tmp_path)
    assert len(list(folder.glob("*.safetensors"))) > 1
    encoder = build_cells(str(folder), image_size=112, final_norm=True)
    torch.testing.assert_close(encoder.model.state_dict(), dino.state_dict())
    assert find_folder(str(folder)) == folder


def test_a_model_with_a_missing_shard_is_not_installed(tmp_path, dino):
    folder = installed_folder("me/dino", tmp_path)
    assert folder is not None
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    (folder / next(iter(index["weight_map"].values()))).unlink()
    assert installed_folder("me/dino", tmp_path) is None
    assert installed_folder("me/nothing", tmp_path) is None
    assert installed_folder("no such id", tmp_path) is None


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_one_line_says_so_at_once(tmp_path, monkeypatch, offline, capfd):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)

    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    def only_the_cache(*asked: object, **options: object) -> str:
        assert options.get("local_files_only"), "the hub's client would try for half a minute"
        return snapshot_download(*asked, **options)

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(places, "snapshot_download", only_the_cache)
    with pytest.raises(FcpError, match="me/vit: not on this machine, and ") as error:
        find_folder("me/vit", tmp_path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_a_hub_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(places, "WAIT", 0.1)

    def dawdle(*_: object) -> None:
        time.sleep(0.5)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", dawdle)
    with pytest.raises(FcpError, match="cannot be reached"):
        find_folder("me/vit", tmp_path)


class Gate(BaseHTTPRequestHandler):
    """A proxy that answers with a status of its own."""

    asked: ClassVar[list[str]] = []
    status = 200

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(("status", "answers"), [(200, True), (401, True), (503, False)])
def test_the_way_to_the_hub_may_lead_over_a_proxy(status, answers, monkeypatch):
    monkeypatch.setattr(Gate, "status", status)
    monkeypatch.setattr(places, "WAIT", 60)
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example")
    Gate.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Gate) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert places.hub_answers() is answers
    assert Gate.asked == ["http://hub.example"]


DOORS = {
    "find_folder": find_folder,
    "load_model": lambda name: load_model(Dinov2Model, name),
    "load_config": load_config,
    "find_weight_file": find_weight_file,
    "find_model": find_model,
    "load_method": lambda name: load_method(f"free:insid3+{name}"),
}


def closed_port() -> str:
    """Return the address of a port of this machine that nobody listens at."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{line.getsockname()[1]}"


@pytest.fixture
def silent_port():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        yield f"http://127.0.0.1:{line.getsockname()[1]}"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("endpoint", ["closed", "silent", "http://192.0.2.1"])
def test_every_door_to_the_hub_gives_up_soon_and_says_so(
    door, endpoint, silent_port, monkeypatch, capfd
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    endpoint = {"closed": closed_port(), "silent": silent_port}.get(endpoint, endpoint)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    if door != "find_model":
        monkeypatch.setattr(places, "WAIT", 0.1)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    start = time.monotonic()
    told = "nobody/at-all: (no such folder here; as a hub id: )?not on this machine, and the hub"
    with pytest.raises(FcpError, match=told) as error:
        DOORS[door]("nobody/at-all")
    assert time.monotonic() - start < 3
    assert f"cannot be reached ({endpoint})" in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_what_the_cache_has_is_taken_without_asking(monkeypatch):
    monkeypatch.setattr(places, "hub_answers", lambda: pytest.fail("the hub was asked"))
    assert places.from_hub("me/vit", lambda cached: cached)


def test_what_the_cache_lacks_is_fetched_from_a_hub_that_answers(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(places, "hub_answers", lambda: True)

    def get(cached):
        if cached:
            raise FileNotFoundError
        return "fetched"

    assert places.from_hub("me/vit", get) == "fetched"


@pytest.mark.parametrize("weights", ["nothing/here/at-all", "vit", "weights/sam.pth/x"])
def test_what_is_neither_a_path_nor_an_id_is_said(weights):
    with pytest.raises(FcpError, match="no such file or folder; check the path"):
        find_folder(weights)


def test_segmenters_are_known_by_their_configuration(tmp_path, sam_configs, dino):
    SamModel(SamConfig(**sam_configs["sam"])).save_pretrained(tmp_path / "sam")
    Sam2Model(Sam2Config(**sam_configs["sam2"])).save_pretrained(tmp_path / "sam2")
    found = load_segmenter(str(tmp_path / "sam"))
    assert type(found) is Sam
    assert found.image_size == 64
    assert type(load_segmenter(str(tmp_path / "sam2"))) is Sam2
    with pytest.raises(FcpError, match="is 'dinov2', not a promptable segmenter"):
        load_segmenter(str(find_folder("me/dino", tmp_path)))


@torch.no_grad()
def test_a_method_is_loaded_from_folders(tmp_path, sam_configs, dino, images):
    SamModel(SamConfig(**sam_configs["sam"])).save_pretrained(tmp_path / "sam")
    folder = find_folder("me/dino", tmp_path)
    method = load_method(f"free:gf-sam+{folder}+{tmp_path / 'sam'}", released=False, size=128)
    masks = torch.zeros(1, 2, 64, 64)
    masks[..., 10:40, 10:40] = 1
    support = method.encode_support(images[None], masks)
    found = method.match(support, method.encode_query(images[:1]))
    assert found.mask_logits.shape == (1, 64, 64)
    assert not method.released
