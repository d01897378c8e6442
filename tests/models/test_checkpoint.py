"""Model folders and the authors' checkpoints: round trips, and refusals that name the file."""

import errno
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from fcp.config import BackboneConfig, HeadConfig, ModelConfig, SegmenterConfig
from fcp.encoders import build_backbone, build_segmenter
from fcp.errors import FcpError
from fcp.method.fcp.model import FCP
from fcp.models.checkpoint import import_checkpoint, load_model, save_model
from fcp.models.files import CONFIG_FILE, PRESENCE_FILE, WEIGHTS_FILE

TINY = SegmenterConfig(name="tiny", options={"width": 32, "image_size": 64, "decoder_width": 32})
N, T, C = 5, 2, 32


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ModelConfig(
        head=HeadConfig(width=C, tokens=N, steps=T),
        backbone=BackboneConfig(name="mobilenet_v2"),
        segmenter=TINY,
        image_size=64,
    )
    return FCP(config, build_backbone(config.backbone), build_segmenter(config.segmenter)).eval()


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- Our folders ---


def test_round_trip(model, tmp_path):
    save_model(model, tmp_path / "new" / "folder")
    loaded = load_model(tmp_path / "new" / "folder")
    assert loaded.config == model.config
    assert same_state(loaded, model)
    assert not loaded.training
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == [CONFIG_FILE, WEIGHTS_FILE]
    assert json.loads((tmp_path / "new/folder" / CONFIG_FILE).read_text())["format"] == "fcp-1"


def test_half_precision_is_for_the_disk_only(model, tmp_path):
    with torch.no_grad():
        kept = model.head.support.tokens[0, 0].clone()
        model.head.query.tokens[0, 0] = 1e6  # outside float16's range
    save_model(model, tmp_path, dtype=torch.float16)
    stored, loaded = load_file(tmp_path / WEIGHTS_FILE), load_model(tmp_path)
    assert stored["head.support.tokens"].dtype == torch.float16
    assert stored["head.query.tokens"].dtype == torch.float32
    assert loaded.head.query.tokens[0, 0] == 1e6
    assert loaded.head.support.tokens[0, 0] == kept.half()
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_a_part_with_its_own_weights_is_not_stored(model, tmp_path, monkeypatch):
    config = ModelConfig(
        head=model.config.head,
        backbone=BackboneConfig(name="mobilenet_v2", weights="some/hub-id"),
        segmenter=TINY,
        image_size=64,
    )
    save_model(FCP(config, model.backbone, model.segmenter), tmp_path)
    parts = {name.split(".")[0] for name in load_file(tmp_path / WEIGHTS_FILE)}
    assert parts == {"head", "segmenter"}
    monkeypatch.setattr("fcp.models.checkpoint.build_backbone", lambda config: model.backbone)
    assert load_model(tmp_path).config == config


def test_a_full_disk_leaves_the_old_model(model, tmp_path, monkeypatch):
    save_model(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fcp.system.files.os.fdopen", full)
    with pytest.raises(FcpError, match=r"model.safetensors: cannot be written .*No space"):
        save_model(model, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_is_full_after_the_weights_leaves_the_old_model(model, tmp_path, monkeypatch):
    save_model(model, tmp_path)
    (tmp_path / PRESENCE_FILE).write_text("{}")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    opened, handles = os.fdopen, []

    def full(handle, mode):
        handles.append(handle)
        if len(handles) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(handle, mode)

    monkeypatch.setattr("fcp.system.files.os.fdopen", full)
    with pytest.raises(FcpError, match=r"config.json: cannot be written .*No space"):
        save_model(model, tmp_path, dtype=torch.float16)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FcpError, match="file"):
        save_model(model, tmp_path / "file" / "folder")


def edit(folder, **changes):
    path = folder / CONFIG_FILE
    settings = json.loads(path.read_text())
    settings.update(changes)
    path.write_text(json.dumps(settings))


def test_refusals_name_the_file(model, tmp_path):
    with pytest.raises(FcpError, match=r"config.json: cannot be read"):
        load_model(tmp_path)
    save_model(model, tmp_path)
    edit(tmp_path, format="other-2")
    with pytest.raises(FcpError, match=r"config.json: expected a model of format 'fcp-1'"):
        load_model(tmp_path)
    edit(tmp_path, format="fcp-1", head={"width": C, "tokens": N, "steps": T + 1})
    with pytest.raises(FcpError, match=r"model.safetensors: .*layers.2.* is missing"):
        load_model(tmp_path)
    edit(tmp_path, head={"width": C, "tokens": N + 1, "steps": T})
    with pytest.raises(FcpError, match=r"model.safetensors: .*support.tokens has shape \(5, 32\)"):
        load_model(tmp_path)
    edit(tmp_path, head={"widht": C})
    with pytest.raises(FcpError, match=r"config.json.*unknown setting 'widht'"):
        load_model(tmp_path)
    (tmp_path / WEIGHTS_FILE).unlink()
    edit(tmp_path, head={"width": C, "tokens": N, "steps": T})
    with pytest.raises(FcpError, match=r"model.safetensors: no such"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 100_000},
        {"head": {"width": 10**9}},
        {"head": {"tokens": 10**12}},
        {"head": {"width": "x"}},
        {"head": {"attention_dropout": 1e999}},
        {"segmenter": {"name": "tiny", "options": {"width": 10**9}}},
        {"segmenter": {"name": "tiny", "options": {"width": "x"}}},
        {"segmenter": {"name": "tiny", "options": {"gone": 1}}},
        {"head": None},
        {"backbone": []},
    ],
)
def test_settings_of_no_model_are_one_line(model, tmp_path, change):
    save_model(model, tmp_path)
    content = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**content, **change}))
    with pytest.raises(FcpError, match=r"config\.json"):
        load_model(tmp_path)


def test_settings_nested_too_deep_are_one_line(model, tmp_path):
    save_model(model, tmp_path)
    (tmp_path / CONFIG_FILE).write_text('{"head": ' * 100_000)
    with pytest.raises(FcpError, match=r"config\.json: not valid JSON"):
        load_model(tmp_path)


def test_weights_that_are_not_finite_are_refused(model, tmp_path):
    save_model(model, tmp_path)
    state = load_file(tmp_path / WEIGHTS_FILE)
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[name].view(-1)[0] = float("nan")
    save_file(state, tmp_path / WEIGHTS_FILE)
    with pytest.raises(FcpError, match=rf"model\.safetensors: {name} holds values that are not"):
        load_model(tmp_path)


# --- Checkpoints of the authors' program ---

SAM = SegmenterConfig(name="sam", weights="some/sam")


@pytest.fixture
def stub_sam(monkeypatch):
    """Let a small segmenter of the right width stand for SAM, which is not here."""
    name = "fcp.models.checkpoint.build_segmenter"
    monkeypatch.setattr(name, lambda config: build_segmenter(TINY))


def authors_attention(kind):
    """The entries of one attention layer, as torch.nn.MultiheadAttention names them."""
    layer = torch.nn.MultiheadAttention(C, 4)
    entries = {f"{kind}.{name}": torch.randn_like(w) for name, w in layer.state_dict().items()}
    return entries | {"norm.weight": torch.randn(C), "norm.bias": torch.randn(C)}


def authors_checkpoint(backbone, mid_channels):
    """A state_dict with the names and shapes of method.md §11, and random values."""
    torch.manual_seed(3)
    decoder = "transformer_decoder."
    state = {name: torch.randn(w.shape).to(w.dtype) for name, w in backbone.items()}
    state["downsample_query.0.weight"] = torch.randn(C, mid_channels, 1, 1)
    state["downsample_sam_query.0.weight"] = torch.randn(C, C, 1, 1)
    for name in ("spt_protos", "qry_protos"):
        state[f"{decoder}{name}.weight"] = torch.randn(N, C)
    for name in ("merge", "merge_sam_and_mask"):
        state[f"{decoder}{name}.0.weight"] = torch.randn(C, 2 * C + 1, 1, 1)
    layers = {
        f"cross_attention_layers_{b}.{t}": "multihead_attn"
        for b in ("spt", "qry")
        for t in range(T)
    }
    layers |= {
        "cross_attention_layers_1.0": "multihead_attn",
        "self_attention_layers_1.0": "self_attn",
    }
    for layer, kind in layers.items():
        for name, tensor in authors_attention(kind).items():
            state[f"{decoder}transformer_{layer}.{name}"] = tensor
    return state


@pytest.fixture(scope="module")
def resnet_checkpoint():
    backbone = build_backbone(BackboneConfig(name="resnet50"))
    return authors_checkpoint(backbone.state_dict(), backbone.mid_channels)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_tensor_arrives_in_its_place(resnet_checkpoint, stub_sam, tmp_path, prefix):
    torch.save({prefix + k: v for k, v in resnet_checkpoint.items()}, tmp_path / "best.pt")
    import_checkpoint(tmp_path / "best.pt", tmp_path / "model", segmenter=SAM)
    loaded = load_model(tmp_path / "model")
    head, theirs, decoder = loaded.head, resnet_checkpoint, "transformer_decoder.transformer_"
    assert loaded.config.head == HeadConfig(width=C, tokens=N, steps=T)
    assert loaded.config.backbone == BackboneConfig(name="resnet50", options={"stem": "3conv"})
    assert loaded.config.segmenter == SAM
    assert loaded.config.image_size == 512
    pairs = {
        "downsample_query.0.weight": head.features["F"].project[0].weight,
        "downsample_sam_query.0.weight": head.features["G"].project[0].weight,
        "transformer_decoder.merge.0.weight": head.features["F"].merge.weight,
        "transformer_decoder.merge_sam_and_mask.0.weight": head.features["G"].merge.weight,
        "transformer_decoder.spt_protos.weight": head.support.tokens,
        "transformer_decoder.qry_protos.weight": head.query.tokens,
        f"{decoder}cross_attention_layers_1.0.norm.bias": head.matching.cross_attention.norm.bias,
        "layer3.5.conv2.weight": loaded.backbone.layer3[5].conv2.weight,
        "layer0.7.running_mean": loaded.backbone.layer0[7].running_mean,
    }
    for branch, prototypes in (("spt", head.support), ("qry", head.query)):
        for t in range(T):
            name = f"{decoder}cross_attention_layers_{branch}.{t}."
            pairs[f"{name}multihead_attn.in_proj_bias"] = prototypes.layers[t].in_proj_bias
            pairs[f"{name}multihead_attn.out_proj.weight"] = prototypes.layers[t].out_proj.weight
    name = f"{decoder}self_attention_layers_1.0.self_attn.in_proj_weight"
    pairs[name] = head.matching.self_attention.in_proj_weight
    for name, ours in pairs.items():
        assert torch.equal(ours, theirs[name].view_as(ours)), name


@pytest.mark.parametrize("numbering", ["own", "torchvision"])
def test_vgg_of_either_numbering(numbering, stub_sam, tmp_path):
    backbone = build_backbone(BackboneConfig(name="vgg16_bn"))
    state = authors_checkpoint(backbone.state_dict(), backbone.mid_channels)
    starts = dict(
        zip(("layer0", "layer1", "layer2", "layer3", "layer4"), (0, 7, 14, 24, 34), strict=True)
    )

    def renumber(name):
        stage, number, *field = name.split(".")
        if numbering == "own" or stage not in starts:
            return name
        return ".".join([stage, str(int(number) + starts[stage]), *field])

    torch.save({renumber(k): v for k, v in state.items()}, tmp_path / "best.pt")
    import_checkpoint(tmp_path / "best.pt", tmp_path / "model", segmenter=SAM)
    loaded = load_model(tmp_path / "model").backbone.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in backbone.state_dict())


def without(state, name):
    return {k: v for k, v in state.items() if not k.startswith(name)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "transformer_decoder.spt_protos"), "spt_protos.weight is missing"),
        (lambda s: without(s, "layer0"), "no layer0.0.weight"),
        (lambda s: without(s, "layer3.5"), "stage 3 has 5 blocks"),
        (lambda s: without(s, "layer4.2.bn3"), r"layer4.2.bn3.weight is missing"),
        (
            lambda s: without(s, "transformer_decoder.merge.0"),
            r"features.F.merge.weight is missing",
        ),
        (lambda s: s | {"extra.weight": torch.zeros(1)}, "extra.weight is unknown"),
        (
            lambda s: s | {"downsample_query.0.weight": torch.zeros(C, 7, 1, 1)},
            r"features.F.project.0.weight has shape \(32, 7\)",
        ),
        (
            lambda s: s | {"transformer_decoder.spt_protos.weight": torch.zeros(N, 6)},
            "width: expected a multiple of 4, got 6",
        ),
        (lambda s: {"fc.weight": torch.zeros(2)}, "no checkpoint of the authors.* --method reads"),
    ],
)
def test_what_does_not_fit_is_named(resnet_checkpoint, tmp_path, change, message):
    torch.save(change(resnet_checkpoint), tmp_path / "other.pt")
    with pytest.raises(FcpError, match=rf"other.pt: .*{message}"):
        import_checkpoint(tmp_path / "other.pt", tmp_path / "model", segmenter=SAM)
    assert not (tmp_path / "model").exists()


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(FcpError, match=r"cut\.pt"):
        import_checkpoint(tmp_path / "cut.pt", tmp_path / "model", segmenter=SAM)


def test_the_segmenters_weights_must_be_named(tmp_path):
    with pytest.raises(FcpError, match=r"segmenter\.weights: .*name a hub id"):
        import_checkpoint(tmp_path / "best.pt", tmp_path / "model", segmenter=TINY)
