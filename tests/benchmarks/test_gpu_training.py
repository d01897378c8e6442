"""Training in a given time on a packed data root: what is packed, and both stages at toy size."""

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
import yaml
from gpu_training import extract_start, missing_packages, train_for
from training_pack import by_shares, evenly, pack
from transformers import MobileNetV2Config, MobileNetV2Model

from fcp.data import region_store
from fcp.data.lists import ClassLists
from fcp.data.mixed import TaskSource
from fcp.data.objects import Objects
from fcp.data.pascal import PascalVOC
from fcp.encoders.efficientnet_lite import build_efficientnet_lite
from fcp.encoders.tiny import TinySegmenter
from fcp.engine.tracking import LOG_FILE, read_log
from fcp.models.checkpoint import load_model
from fcp.models.loading import find_model

SHARES = {"voc": 0.5, "single": 0.25, "scenes": 0.25}
SEGMENTER = {"width": 16, "image_size": 64, "decoder_width": 16}
OPTIM = {"batch": 2, "learning_rate": 1e-3, "warmup": 1}
STAGE = {"stage": "segmenter", "objects": True, "masks": 2, "options": SEGMENTER, "optim": OPTIM}
EFFICIENTNET = {"size": 0, "layers": [4, 7, 15], "output_stride": 16, "standardise": False}
HEAD = {
    "stage": "head",
    "shares": SHARES,
    "absent_share": 0.2,
    "model": {
        "image_size": 64,
        "head": {"width": 16, "tokens": 3, "correlation": 8},
        "backbone": {"name": "efficientnet_lite", "options": EFFICIENTNET},
        "segmenter": {"name": "tiny", "options": SEGMENTER},
    },
    "optim": OPTIM,
}


def lists_of(present):
    classes = {c for shown in present.values() for c in shown}
    members = {c: tuple(p for p, shown in present.items() if c in shown) for c in classes}
    return ClassLists(tuple(present), members, present, {c: str(c) for c in classes})


def test_classes_come_evenly_and_each_photo_once():
    present = {f"common{n}": (1,) for n in range(9)} | {f"rare{n}": (2, 3) for n in range(3)}
    photos = list(evenly(lists_of(present)))
    assert sorted(photos) == sorted(present)
    assert Counter(photo[:4] for photo in photos[:6]) == {"comm": 3, "rare": 3}


def test_sets_come_by_their_shares_until_one_runs_out():
    many, few = (
        TaskSource(name, None, lists_of({f"{name}{n}": (1,) for n in range(count)}), {})
        for name, count in (("many", 20), ("few", 2))
    )
    order = [source.name for source, _ in by_shares([many, few], {"many": 0.75, "few": 0.25})]
    assert Counter(order[:8]) == {"many": 6, "few": 2}
    assert len(order) == 22


@pytest.fixture(scope="module")
def packed(mini_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("pack") / "pack"
    counts = pack(mini_root, out, SHARES, room=25_000, fold=None, bsds=1, side=48)
    assert counts["bytes"] == sum(f.stat().st_size for f in (out).rglob("*.*")) - len(
        (out / "VOC2012/ImageSets/Segmentation/trainaug.txt").read_bytes()
    )
    return out


def test_the_pack_reads_as_the_data_do_at_its_size(packed, mini_root):
    small, whole = PascalVOC(packed), PascalVOC(mini_root)
    assert set(small.ids("train")) <= set(whole.ids("train"))
    for photo in islice(small.ids("train"), 8):
        assert small.image(photo).shape == (36, 48, 3)
        rows, columns = np.arange(36) * 2 + 1, np.arange(48) * 2 + 1
        np.testing.assert_array_equal(
            small.labels(photo), whole.labels(photo)[rows[:, None], columns]
        )
    small, whole = Objects(packed), Objects(mini_root)
    banned = {c for c, kind in whole.kinds.items() if kind.coco is not None}
    assert small.shown
    for photo, kinds in small.shown.items():
        assert banned.isdisjoint(kinds)
        for kind in kinds:  # smaller than 48 px: not enlarged
            np.testing.assert_array_equal(
                small.class_mask(photo, kind), whole.class_mask(photo, kind)
            )


def test_no_photo_is_added_beyond_the_room(mini_root, tmp_path):
    counts = pack(mini_root, tmp_path / "pack", SHARES, room=6000, fold=None, bsds=0, side=48)
    assert 6000 <= counts["bytes"] < 9000
    assert counts["voc"] >= counts["single"] > 0


def test_both_stages_train_and_go_on_when_started_again(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(region_store, "LONG_SIDE", 64)  # at full size regions take most of a minute
    MobileNetV2Model(MobileNetV2Config()).save_pretrained(tmp_path / "mobilenet")
    for name, recipe in (("stage", STAGE), ("head", HEAD)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    common = {"data_root": packed, "probe": 2, "report": lambda _: None}
    stage = [f"backbone_weights={tmp_path / 'mobilenet'}"]
    head = [f"segmenter_folder={tmp_path / 'segmenter'}", "optim.precision=bf16"]
    runs = (("stage", stage, "segmenter"), ("head", head, "small"))
    for recipe, settings, name in runs:
        out = tmp_path / name
        times = train_for(0.0, str(tmp_path / f"{recipe}.yaml"), settings, out=out, **common)
        assert int(read_log(out / LOG_FILE)[-1]["step"]) == times["steps"] == 2
    settings = json.loads((tmp_path / "small/recipe.json").read_text())
    settings["optim"]["iterations"] = 3  # as an interrupted run leaves them
    (tmp_path / "small/recipe.json").write_text(json.dumps(settings))
    times = train_for(0.0, str(tmp_path / "head.yaml"), head, out=tmp_path / "small", **common)
    assert times["steps"] == 3
    assert load_model(tmp_path / "small").config.image_size == 64


def test_the_start_is_what_the_shipped_model_has(tmp_path):
    model = load_model(find_model("small"))
    backbone, stage = extract_start(tmp_path)
    started = TinySegmenter(**model.config.segmenter.options)
    started.load_start(stage / "segmenter.safetensors")
    shipped = model.segmenter.state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in started.state_dict().items())
    encoder = build_efficientnet_lite(str(backbone), **model.config.backbone.options)
    shipped, started = model.backbone.state_dict(), encoder.state_dict()
    own = {name for name in shipped if name.startswith("mid_")}  # not of the published file
    assert shipped.keys() == started.keys()
    assert all(torch.equal(value, shipped[n]) for n, value in started.items() if n not in own)


def test_missing_packages_are_named_as_pip_names_them():
    assert missing_packages({"numpy": "numpy", "no_such_module": "no-such-thing>=1"}) == [
        "no-such-thing>=1"
    ]
