"""Training on stored views whole, at toy size: VOC and `objects` in one run."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from fcp.checks import from_dict
from fcp.data.lists import train_lists
from fcp.data.mixed import MixedTask, TaskSource
from fcp.data.pascal import PascalVOC
from fcp.data.transforms import to_square
from fcp.engine.average import MovingAverage
from fcp.engine.recipe import HeadRecipe, load_recipe
from fcp.engine.stored_batches import answer_stored, make_episode, stack_episodes
from fcp.engine.tracking import LOG_FILE, read_log
from fcp.engine.train import train
from fcp.engine.train_head import starting_model
from fcp.engine.train_stored import thin_photos
from fcp.engine.view_store import (
    ViewStore,
    build_views,
    decode_backbone,
    decode_embedding,
)
from fcp.errors import FcpError
from fcp.features.cache import FeatureCache
from fcp.models.checkpoint import load_model
from fcp.system.documents import load_json

RECIPE = {
    "stage": "head",
    "fold": 0,
    "shares": {"voc": 0.6, "single": 0.4},
    "absent_share": 0.4,
    "shots": [1, 2],
    "hold_out_kinds": True,
    "holdout_every": 2,
    "holdout_episodes": 3,
    "model": {
        "image_size": 64,
        "head": {"width": 16, "tokens": 3, "correlation": 8},
        "backbone": {
            "name": "efficientnet_lite",
            "options": {
                "size": 0,
                "layers": [4, 7, 15],
                "output_stride": 16,
                "standardise": False,
            },
        },
        "segmenter": {
            "name": "tiny",
            "options": {"width": 16, "image_size": 64, "decoder_width": 16},
        },
    },
    "optim": {
        "iterations": 4,
        "batch": 2,
        "learning_rate": 1e-3,
        "warmup": 1,
        "log_every": 1,
        "average": 0.5,
        "checkpoint_every": 2,
    },
}


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    return file


def run(recipe_file, mini_root, out, *overrides, resume=False):
    train(
        recipe_file,
        overrides=overrides,
        data_root=mini_root,
        out=out,
        resume=resume,
        report=lambda _: None,
        store=None,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe_file, mini_root):
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(recipe_file, mini_root, out)
    return out


def test_a_run_gives_a_model_and_the_best_by_held_out_kinds(finished):
    log = read_log(finished / LOG_FILE)
    assert {"prompt", "guide", "ortho", "correlation", "presence"} <= set(log[0])
    assert load_model(finished).config == load_model(finished / "best").config
    recipe = from_dict(HeadRecipe, load_json(finished / "recipe.json"))
    assert recipe.shares == RECIPE["shares"]


def test_a_resumed_run_ends_with_the_same_average(
    finished, recipe_file, mini_root, tmp_path, killed
):
    (tmp_path / "views").symlink_to(finished.parent / "views")
    with killed():
        run(recipe_file, mini_root, tmp_path / "again")
    run(recipe_file, mini_root, tmp_path / "again", resume=True)
    whole, again = load_model(finished).state_dict(), load_model(tmp_path / "again").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@torch.no_grad()
def test_stored_features_are_the_encoders_to_half_a_step(finished, mini_root):
    recipe = from_dict(HeadRecipe, load_json(finished / "recipe.json"))
    model, voc = starting_model(recipe).eval(), PascalVOC(mini_root)
    photos = [(voc, name) for name in ("train_06_0", "train_06_1")]
    folder = finished.parent / "two"
    store = build_views(model, photos, folder, views=2, seed=0, report=lambda _: None)
    read = {name: v[None] for name, v in store.read("train_06_1", 0, list(store.steps)).items()}
    pixels = to_square(voc.image("train_06_1"), 64)[None]
    features, embedding = model.backbone(pixels), model.segmenter.encode(pixels)
    stored = decode_backbone(read, store.steps, model.backbone.level_channels)
    for one, other in zip(stored.levels, features.levels, strict=True):
        assert (one - other).abs().max() <= store.steps["fine"] / 2 + 1e-6
    assert stored.mid.shape[:2] == features.mid.shape[:2]
    again = decode_embedding(read, store.steps)
    within = (again.image - embedding.image).abs() <= store.steps["embedding"] / 2 + 1e-6
    assert within.float().mean() > 0.99  # the rest lies beyond what 8 bits reach
    assert [m.shape for m in again.high_resolution] == [m.shape for m in embedding.high_resolution]
    answer = answer_stored(
        model,
        store.steps,
        stack_episodes([make_episode(store, task_of(voc, present=True), 64, None)]),
    )
    assert answer.mask_logits.shape == (1, 64, 64)


@torch.no_grad()
def test_stored_views_of_another_training_are_refused(finished, mini_root, tmp_path):
    recipe = from_dict(HeadRecipe, load_json(finished / "recipe.json"))
    model, voc = starting_model(recipe).eval(), PascalVOC(mini_root)
    photos = [(voc, name) for name in ("train_06_0", "train_06_1")]

    def build(photos, views=1):
        return build_views(model, photos, tmp_path, views=views, seed=0, report=lambda _: None)

    first = build(photos).read("train_06_0", 0, ["fine"])["fine"]
    assert torch.equal(build(photos).read("train_06_0", 0, ["fine"])["fine"], first)
    with pytest.raises(FcpError, match=r"views of another training \(photos differ\); delete it"):
        build(photos[:1])
    with pytest.raises(FcpError, match=r"\(views differ\)"):
        build(photos, views=2)
    config = model.config
    other = replace(config.backbone, options={**config.backbone.options, "output_stride": 8})
    model.config = replace(config, backbone=other)  # the same weights give other features
    with pytest.raises(FcpError, match=r"\(encoders differ\)"):
        build(photos)
    model.config = config
    for tensor in (model.backbone._bn0.running_mean, next(model.segmenter.parameters())):
        tensor.add_(1)  # as one that was shown other classes
        with pytest.raises(FcpError, match=r"\(encoders differ\)"):
            build(photos)
        tensor.sub_(1)


@torch.no_grad()
@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClassAug"])
def test_stored_views_of_other_files_of_the_same_names_are_refused(
    finished, mini_root, tmp_path, folder
):
    recipe = from_dict(HeadRecipe, load_json(finished / "recipe.json"))
    model = starting_model(recipe).eval()

    def build(root):
        photos = [(PascalVOC(root), "train_06_0")]
        return build_views(model, photos, tmp_path / "v", views=1, seed=0, report=lambda _: None)

    build(mini_root)
    shutil.copytree(mini_root / "VOC2012", tmp_path / "VOC2012")
    build(tmp_path)  # the same files elsewhere
    (file,) = (tmp_path / "VOC2012" / folder).glob("train_06_0.*")
    shutil.copy(file.with_stem("train_06_1"), file)
    with pytest.raises(FcpError, match=r"\(photos differ\)"):
        build(tmp_path)


@torch.no_grad()
def test_views_that_the_disk_cannot_hold_are_refused_before_they_are_written(
    finished, mini_root, tmp_path, monkeypatch
):
    recipe = from_dict(HeadRecipe, load_json(finished / "recipe.json"))
    model, voc = starting_model(recipe).eval(), PascalVOC(mini_root)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2000))
    with pytest.raises(FcpError, match=r"views: needs .* its disk has .* free; make room"):
        build_views(
            model, [(voc, "train_06_0")], tmp_path / "views", views=2, seed=0, report=lambda _: None
        )
    assert not list(tmp_path.rglob("*.npy"))


def test_of_two_runs_that_want_the_same_views_one_encodes(finished, mini_root, tmp_path):
    recipe = from_dict(HeadRecipe, load_json(finished / "recipe.json"))
    model, voc = starting_model(recipe).eval(), PascalVOC(mini_root)
    photos = [(voc, f"train_06_{number}") for number in range(4)]
    told = ([], [])

    def build(report):
        return build_views(model, photos, tmp_path / "views", views=2, seed=0, report=report)

    with ThreadPoolExecutor() as pool:
        stores = list(pool.map(build, [lines.append for lines in told]))
    assert [] in told
    assert told != ([], [])
    one, other = (store.read("train_06_3", 1, ["embedding"])["embedding"] for store in stores)
    assert one.any()
    assert torch.equal(one, other)


def task_of(voc, *, present):
    query = "train_06_1" if present else "train_07_0"
    return MixedTask(TaskSource("voc", voc, None, {}), 6, ("train_06_0",), query, present)


def test_an_absent_query_asks_for_presence_alone(finished, mini_root):
    recipe = from_dict(HeadRecipe, load_json(finished / "recipe.json"))

    store = ViewStore(finished.parent / "views")
    task = task_of(PascalVOC(mini_root), present=False)
    episode = make_episode(store, task, recipe.model.image_size, np.random.default_rng(0))
    assert (episode.query_mask == 255).all()
    assert not episode.present


def test_an_average_follows_and_changes_places():
    weight = torch.nn.Parameter(torch.zeros(2))
    average = MovingAverage([weight], 0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update(100)
    assert average.values[0].tolist() == [0.5, 0.5]
    with average.shown():
        assert weight.tolist() == [0.5, 0.5]
    assert weight.tolist() == [1.0, 1.0]


def test_no_average_is_none():
    average = MovingAverage([torch.nn.Parameter(torch.ones(1))], 0.0)
    average.update(0)
    average.swap()
    assert average.values == []


def test_rare_classes_keep_their_photos(mini_root):

    lists = train_lists(PascalVOC(mini_root), None)
    few = thin_photos(lists, 2)
    for class_id, members in lists.members.items():
        assert len(set(few) & set(members)) >= min(2, len(members)), class_id
    assert len(few) < len(lists.rows)


def test_recipe_refuses_a_share_that_is_none(tmp_path, recipe_file):
    with pytest.raises(Exception, match="absent_share"):
        load_recipe(recipe_file, ("absent_share=2",))


def test_a_store_of_features_is_refused(recipe_file, mini_root, tmp_path):
    with pytest.raises(FcpError, match="feature cache: of no use with shares"):
        train(
            recipe_file,
            overrides=(),
            data_root=mini_root,
            out=tmp_path / "run",
            resume=False,
            report=lambda _: None,
            store=FeatureCache(tmp_path / "features", 1 << 20),
        )
