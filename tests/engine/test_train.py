"""`fcp train` whole: both stages on a small data set, from a recipe to files that load."""

import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import MobileNetV2Config, MobileNetV2Model

from fcp.engine.loop import Trainer
from fcp.engine.recipe import load_recipe
from fcp.engine.share import Share
from fcp.engine.tracking import LOG_FILE, read_log
from fcp.engine.train import train
from fcp.engine.train_head import (
    episode_batches,
    episode_source,
    head_stage,
    require_novel,
    starting_model,
)
from fcp.engine.train_segmenter import WEIGHTS, rarity_weights
from fcp.errors import FcpError
from fcp.features.cache import FeatureCache
from fcp.models.checkpoint import load_model
from fcp.models.files import RECIPE_FILE, WEIGHTS_FILE
from fcp.system.locks import hold_folder

SEGMENTER = {"width": 16, "image_size": 64, "decoder_width": 16}
HEADS = (
    {"features": "F", "matching": "pixel", "pseudo_mask": "conventional"},
    {"features": "G", "matching": "pixel", "pseudo_mask": "conventional"},
    {"features": "F", "pseudo_mask": "conventional"},
    {"features": "G", "pseudo_mask": "conventional"},
    {"features": "F+G", "pseudo_mask": "conventional"},
    {"features": "F+G"},
    {"steps": 1},
    {"steps": 2, "refresh_guidance": False},
    {"mask_prompt": True, "contrast_levels": [32, 96, 160, 320]},
)
OPTIM = {"iterations": 2, "batch": 2, "learning_rate": 1e-3, "warmup": 1, "log_every": 1}


@pytest.fixture(scope="module")
def backbone_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mobilenet")
    MobileNetV2Model(MobileNetV2Config()).save_pretrained(folder)
    return folder


def _recipe(folder, values):
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def _train(recipe, data_root, out, store=None):
    train(
        recipe,
        overrides=(),
        data_root=data_root,
        out=out,
        resume=False,
        report=lambda _: None,
        store=store,
    )


def _head_values(backbone_folder, **optim):
    return {
        "stage": "head",
        "fold": 1,
        "backbone_weights": str(backbone_folder),
        "model": {
            "image_size": 64,
            "head": {"width": 16, "tokens": 3, "mask_prompt": True},
            "backbone": {"name": "mobilenet_v2"},
            "segmenter": {"name": "tiny", "options": SEGMENTER},
        },
        "optim": {**OPTIM, **optim},
    }


def _segmenter_values(backbone_folder):
    return {
        "stage": "segmenter",
        "backbone_weights": str(backbone_folder),
        "exclude_folds": [1, 2, 3],
        "masks": 2,
        "options": SEGMENTER,
        "optim": OPTIM,
    }


def _stage(recipe, data_root):
    batches = episode_batches(recipe, episode_source(recipe, data_root), data_root)
    return head_stage(recipe, starting_model(recipe), batches)


@pytest.fixture(scope="module")
def segmenter_run(mini_voc, backbone_folder, tmp_path_factory):
    work = tmp_path_factory.mktemp("run")
    _train(_recipe(work, _segmenter_values(backbone_folder)), mini_voc, work / "segmenter")
    return work


def test_the_segmenter_stage_keeps_novel_pictures_out(segmenter_run):
    files = (segmenter_run / "regions").glob("*.npz")
    stored = {path.stem.rpartition("-")[0] for path in files}
    assert "bsds-1" in stored
    assert "voc-train_01_0" in stored
    assert not any(f"_{c:02d}_" in name for name in stored for c in (6, 7, 11, 12, 16, 17))
    assert (segmenter_run / "segmenter/segmenter.safetensors").exists()


def test_the_head_stage_writes_a_model_that_loads(segmenter_run, mini_voc, backbone_folder):
    values = {
        **_head_values(backbone_folder),
        "train_backbone": True,
        "segmenter_folder": str(segmenter_run / "segmenter"),
    }
    out = segmenter_run / "head"
    _train(_recipe(segmenter_run, values), mini_voc, out)
    assert {"prompt", "guide", "ortho", "total"} <= set(read_log(out / LOG_FILE)[0])
    model = load_model(out)
    start = MobileNetV2Model.from_pretrained(backbone_folder)
    moved = [
        not torch.equal(after.half(), before.half())
        for before, after in zip(
            start.conv_stem.parameters(), model.backbone.blocks[0].parameters(), strict=True
        )
    ]
    assert any(moved)  # the backbone was trained further
    assert (model.backbone.mid_std != 1).any()


def test_only_the_head_learns_and_the_encoders_record_nothing(mini_voc, backbone_folder, tmp_path):
    recipe = load_recipe(_recipe(tmp_path, _head_values(backbone_folder)))
    stage = _stage(recipe, mini_voc)
    trainer = Trainer(stage, recipe.optim)
    batch = stage.batches[Share(0)]
    model = stage.model
    frozen = [*model.backbone.parameters(), *model.segmenter.parameters()]
    assert not any(p.requires_grad for p in frozen)
    assert not model.backbone(batch["query_images"]).mid.requires_grad
    assert not model.segmenter.encode(batch["query_images"]).image.requires_grad
    trainer.module(batch)["total"].backward()
    assert all(p.grad is None for p in frozen)
    assert all(p.grad is not None for p in model.head.parameters())
    trainer.step(0, [batch])
    assert set(trainer.optimizer.state) == set(model.head.parameters())


@pytest.mark.parametrize("switches", HEADS, ids=str)
def test_a_head_has_no_parameter_without_gradient(mini_voc, backbone_folder, tmp_path, switches):
    """So that several processes need not look for such at each step."""
    values = _head_values(backbone_folder)
    values["model"]["head"] = {"width": 16, "tokens": 3, **switches}
    recipe = load_recipe(_recipe(tmp_path, values))
    stage = _stage(recipe, mini_voc)
    assert not stage.skips_parameters
    stage.losses(stage.batches[Share(0)])["total"].backward()
    idle = [name for name, p in stage.model.head.named_parameters() if p.grad is None]
    assert idle == []


def test_a_run_goes_on_only_with_its_own_recipe(mini_voc, backbone_folder, tmp_path):
    recipe = _recipe(tmp_path, _head_values(backbone_folder))
    _train(recipe, mini_voc, tmp_path / "run")
    rest = {"data_root": mini_voc, "out": tmp_path / "run", "resume": True}
    with pytest.raises(FcpError, match=r"model.head.tokens \(was 3, now 4\)"):
        train(recipe, overrides=("model.head.tokens=4",), report=lambda _: None, **rest)
    train(recipe, overrides=("optim.iterations=3",), report=lambda _: None, **rest)
    assert [row["step"] for row in read_log(tmp_path / "run" / LOG_FILE)] == ["1", "2", "3"]


def test_a_second_run_into_the_same_folder_is_refused(mini_voc, backbone_folder, tmp_path):
    recipe = _recipe(tmp_path, _head_values(backbone_folder))
    with (
        hold_folder(tmp_path / "run"),
        pytest.raises(FcpError, match="run: another run is writing to it"),
    ):
        _train(recipe, mini_voc, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_not_started_anew(segmenter_run, mini_voc, backbone_folder):
    recipe, out = _frozen(segmenter_run, backbone_folder), segmenter_run / "used"
    _train(recipe, mini_voc, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    rest = {"out": out, "report": lambda _: None}
    longer = ("optim.iterations=9",)
    with pytest.raises(FcpError, match=r"used: holds a run already; .* --resume, or .* --out"):
        train(recipe, overrides=("fold=1",), data_root=mini_voc, resume=False, **rest)
    with pytest.raises(FcpError, match="no such folder"):
        train(recipe, overrides=longer, data_root=out / "none", resume=True, **rest)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_a_model_of_another_origin_is_left_alone(
    segmenter_run, backbone_folder, mini_voc, model_folder, tmp_path, resume
):
    shutil.copytree(model_folder, tmp_path / "model")
    before = {path: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    recipe = _frozen(segmenter_run, backbone_folder)
    rest = {"out": tmp_path / "model", "report": lambda _: None, "data_root": mini_voc}
    with pytest.raises(FcpError, match=r"model: holds a model already; choose another --out"):
        train(recipe, overrides=(), resume=resume, **rest)
    assert {path: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_the_recipe_is_written_once_data_and_weights_are_there(backbone_folder, mini_voc, tmp_path):
    segmenter = {"stage": "segmenter", "backbone_weights": str(backbone_folder), "optim": OPTIM}
    for values in (_head_values(backbone_folder), segmenter):
        with pytest.raises(FcpError, match="no such folder"):
            _train(_recipe(tmp_path, values), tmp_path / "none", tmp_path / "out")
    values = {**_head_values(backbone_folder), "segmenter_folder": str(tmp_path / "none")}
    with pytest.raises(FcpError, match="none"):
        _train(_recipe(tmp_path, values), mini_voc, tmp_path / "out")
    assert not (tmp_path / "out" / RECIPE_FILE).exists()


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ("me/none", "not on this machine, and HF_HUB_OFFLINE"),
        ("none.pth", "no such file or folder"),
    ],
)
def test_missing_starting_weights_are_told_with_their_setting(weights, reason, mini_voc, tmp_path):
    encoders = {
        "backbone": {"name": "mobilenet_v2"},
        "segmenter": {"name": "tiny", "options": SEGMENTER},
    }
    stages = (
        {"stage": "segmenter", "options": SEGMENTER, "optim": OPTIM},
        {**_head_values(weights)},
        {"stage": "free", "method": "persam", "encoders": {**encoders, "image_size": 64}},
        {"stage": "method", "method": "pfenet", "image_size": 64, "optim": OPTIM},
        {"stage": "base_learner", "image_size": 64, "backbone": "mobilenet_v2", "optim": OPTIM},
    )
    for values in stages:
        recipe = _recipe(tmp_path, {**values, "backbone_weights": weights})
        with pytest.raises(FcpError, match=f"^backbone_weights: {weights}: {reason}"):
            _train(recipe, mini_voc, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_segmenter_that_saw_the_novel_classes_is_refused(
    segmenter_run, mini_voc, backbone_folder, tmp_path
):
    run = segmenter_run / "segmenter"
    values = {**_head_values(backbone_folder), "segmenter_folder": str(run)}
    seen = _recipe(tmp_path, {**values, "fold": 0})
    with pytest.raises(FcpError, match=r"segmenter_folder: .* classes of fold 0 .*novel; train"):
        starting_model(load_recipe(seen))
    starting_model(load_recipe(seen, ("fold=1",)))
    of_coco = load_recipe(seen, ("fold=1", "benchmark=coco20i"))  # bicycle, bus, horse, couch
    with pytest.raises(FcpError, match=r"classes of fold 0 .* exclude_folds=\[0, 1, 2, 3\]"):
        starting_model(of_coco)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes())
    bare = f"segmenter_folder={tmp_path / 'bare'}"
    with pytest.raises(FcpError, match=r"segmenter_folder: .*bare has no recipe\.json, so that"):
        starting_model(load_recipe(seen, (bare,)))
    starting_model(load_recipe(seen, (bare, "fold=null")))
    further = {**_segmenter_values(backbone_folder), "start": str(run), "exclude_folds": [0, 1]}
    with pytest.raises(FcpError, match=r"start: .* classes of fold 0"):
        _train(_recipe(tmp_path, further), mini_voc, tmp_path / "further")


def test_weights_of_a_segmenter_that_saw_the_novel_classes_are_refused(
    segmenter_run, mini_voc, backbone_folder, tmp_path
):
    run, values = segmenter_run / "segmenter", _head_values(backbone_folder)
    values["model"]["segmenter"]["weights"] = str(run / WEIGHTS)
    seen = _recipe(tmp_path, {**values, "fold": 0})
    message = r"^model\.segmenter\.weights: .* classes of fold 0 .*novel; train"
    with pytest.raises(FcpError, match=message):
        _train(seen, mini_voc, tmp_path / "out")
    for fold in ("1", "null"):
        starting_model(load_recipe(seen, (f"fold={fold}",)))
    (tmp_path / "bare.safetensors").write_bytes((run / WEIGHTS).read_bytes())
    bare = f"model.segmenter.weights={tmp_path / 'bare.safetensors'}"
    with pytest.raises(FcpError, match=r"segmenter\.weights: .* has no recipe\.json, so that"):
        starting_model(load_recipe(seen, ("fold=1", bare)))
    require_novel(load_recipe(seen, ("model.segmenter.name=sam",)))
    model = values["model"]
    free = {"stage": "free", "method": "persam", "backbone_weights": values["backbone_weights"]}
    free["encoders"] = {name: model[name] for name in ("image_size", "backbone", "segmenter")}
    with pytest.raises(FcpError, match=r"^encoders\.segmenter\.weights: .* classes of fold 0"):
        _train(_recipe(tmp_path, {**free, "fold": 0}), mini_voc, tmp_path / "out")


def test_pictures_of_rare_classes_weigh_more():
    shown = {**{f"dog{i}": [12] for i in range(9)}, "boat": [4, 12], "nothing": []}
    weights = rarity_weights(shown)
    assert sum(weights.values()) / len(weights) == pytest.approx(1)
    assert weights["boat"] / weights["dog0"] == pytest.approx(10**0.5)  # 1 boat, 10 with a dog
    assert weights["nothing"] == weights["dog0"]


def _frozen(segmenter_run, backbone_folder, **settings):
    values = _head_values(backbone_folder, iterations=3)
    folder = str(segmenter_run / "segmenter")
    return _recipe(segmenter_run, {**values, "segmenter_folder": folder, **settings})


def test_features_made_or_found_train_the_same_weights(
    segmenter_run, mini_voc, backbone_folder, tmp_path
):
    recipe = _frozen(segmenter_run, backbone_folder)
    for name in ("made", "found"):
        store = FeatureCache(tmp_path / "features", 1 << 26)
        _train(recipe, mini_voc, tmp_path / name, store=store)
    made, found = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("made", "found"))
    assert all(torch.equal(tensor, found[name]) for name, tensor in made.items())
    _train(recipe, mini_voc, tmp_path / "pixels")  # nothing stored: only 16-bit rounding differs
    pixels = load_file(tmp_path / "pixels" / WEIGHTS_FILE)
    for name, tensor in made.items():
        torch.testing.assert_close(tensor.float(), pixels[name].float(), atol=5e-3, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [{"train_backbone": True}, {"views": "augmented"}, {"distractor_share": 0.5}],
)
def test_changing_features_are_not_stored(
    segmenter_run, mini_voc, backbone_folder, tmp_path, settings
):
    recipe = _frozen(segmenter_run, backbone_folder, **settings)
    store = FeatureCache(tmp_path / "features", 1 << 26)
    with pytest.raises(FcpError, match=f"of no use with {next(iter(settings))}"):
        _train(recipe, mini_voc, tmp_path / "run", store=store)


def test_the_best_on_the_hold_out_is_kept_and_changes_no_training(
    segmenter_run, mini_voc, backbone_folder, tmp_path
):
    plain = _frozen(segmenter_run, backbone_folder)
    _train(plain, mini_voc, tmp_path / "plain")
    judged = _frozen(segmenter_run, backbone_folder, holdout_every=1, holdout_episodes=4)
    _train(judged, mini_voc, tmp_path / "judged")
    scores = [float(row["holdout"]) for row in read_log(tmp_path / "judged" / LOG_FILE)]
    assert len(scores) == 3
    assert all(0 <= score <= 1 for score in scores)
    without, with_it = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("plain", "judged"))
    assert all(torch.equal(tensor, with_it[name]) for name, tensor in without.items())
    best = load_model(tmp_path / "judged/best")
    if scores[-1] == max(scores) and scores.count(scores[-1]) == 1:
        last = load_model(tmp_path / "judged")
        assert torch.equal(best.head.support.tokens, last.head.support.tokens)
