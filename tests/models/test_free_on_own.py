"""Methods without training on our own encoders: their folders, by themselves and in the library."""

import json

import pytest
import torch

from fcp.config import BackboneConfig, EncodersConfig, SegmenterConfig
from fcp.encoders import build_backbone, build_segmenter
from fcp.errors import FcpError
from fcp.evaluation.tested import describe_model
from fcp.inference.networks.free import FreeNetwork
from fcp.method.names import FreeName
from fcp.method.registry import build_on
from fcp.models.catalogue import find_facts
from fcp.models.free import LoadedFree, hash_free, load_free, save_free
from fcp.models.free_on_own import encoders_of_method, save_on_own
from fcp.structures import Episode

SIDE = 64
OPTIONS = {"insid3": {"released": False}, "gf-sam": {}, "persam": {}, "matcher": {"preset": "fss"}}
ENCODERS = EncodersConfig(
    BackboneConfig("mobilenet_v2", "elsewhere", {"standardise": False}),
    SegmenterConfig("tiny", options={"width": 16, "image_size": SIDE, "decoder_width": 16}),
    SIDE,
)


@pytest.fixture(scope="module")
def encoders():
    torch.manual_seed(0)
    part = ENCODERS.backbone
    return (
        build_backbone(BackboneConfig(part.name, None, part.options)),
        build_segmenter(ENCODERS.segmenter),
    )


@pytest.fixture(params=OPTIONS)
def loaded(request, encoders):
    if request.param == "matcher":
        pytest.importorskip("ot", reason="needs the extra free")
    options = OPTIONS[request.param]
    method = build_on(request.param, *encoders, image_size=SIDE, **options)
    return LoadedFree(method, FreeName(request.param, None, None), options, ENCODERS)


def test_a_folder_gives_the_same_answer_and_holds_what_the_method_reads(loaded, encoders, tmp_path):
    torch.manual_seed(1)
    masks = torch.zeros(1, 2, SIDE, SIDE)
    masks[..., 16:48, 8:40] = 1
    episode = Episode(torch.rand(1, 2, 3, SIDE, SIDE), masks, torch.rand(1, 3, SIDE, SIDE))
    save_free(loaded, tmp_path)
    again = load_free(tmp_path)
    assert again.method(episode).mask_logits.equal(loaded.method(episode).mask_logits)
    assert again.method.image_size == SIDE
    assert again.options == loaded.options
    for part, given, kept in zip(
        ("cells", "segmenter"), encoders, encoders_of_method(again.method), strict=True
    ):
        assert (kept is None) == (not hasattr(loaded.method, part))
        state = given.state_dict()
        assert kept is None or all(
            tensor.equal(state[name]) for name, tensor in kept.state_dict().items()
        )


def test_a_loaded_method_is_described_hashed_and_saved_again(encoders, tmp_path):
    loaded = LoadedFree(
        build_on("persam", *encoders, image_size=SIDE),
        FreeName("persam", None, None),
        encoders=ENCODERS,
    )
    save_on_own(loaded.method, loaded.name, {}, ENCODERS, tmp_path / "one")
    again = load_free(tmp_path / "one")
    assert describe_model(tmp_path / "one").method == "free:persam"
    size = (tmp_path / "one/model.safetensors").stat().st_size
    assert find_facts(str(tmp_path / "one")).shipped_megabytes == round(size / 1e6) > 0
    assert FreeNetwork(again).promptable is again.method.segmenter
    save_free(again, tmp_path / "two")
    assert hash_free(tmp_path / "one") == hash_free(tmp_path / "two")
    settings = json.loads((tmp_path / "two/config.json").read_text())
    settings["encoders"]["image_size"] *= 2
    (tmp_path / "two/config.json").write_text(json.dumps(settings))
    assert hash_free(tmp_path / "one") != hash_free(tmp_path / "two")
    for tensor in again.method.segmenter.parameters():
        tensor.data.add_(1)
        break
    save_free(again, tmp_path / "two")
    assert hash_free(tmp_path / "one") != hash_free(tmp_path / "two")


def test_what_does_not_fit_is_named(encoders):
    with pytest.raises(FcpError, match=r"method: expected one of insid3, gf-sam, .* got 'nothing'"):
        build_on("nothing", *encoders, image_size=SIDE)
    with pytest.raises(FcpError, match="method 'persam': unknown option 'size'"):
        build_on("persam", *encoders, image_size=SIDE, size=3)
