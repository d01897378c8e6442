"""`fcp train` of the compared methods: from a recipe to a folder, resumed, stored, judged."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fcp.data.dataset import Picture
from fcp.data.lists import holdout_lists
from fcp.data.pascal import PascalVOC
from fcp.encoders import BACKBONES
from fcp.engine.checkpoints import CHECKPOINT_FILE
from fcp.engine.dry_run import dry_run
from fcp.engine.loop import Trainer
from fcp.engine.optim import OptimConfig
from fcp.engine.recipe import load_recipe
from fcp.engine.share import Share
from fcp.engine.tracking import LOG_FILE, read_log
from fcp.engine.train import train
from fcp.engine.train_base_learner import LEARNERS, find_base_learner, require_pairs
from fcp.engine.train_method import method_source, method_stage, starting_method
from fcp.errors import FcpError
from fcp.evaluation.method_predictor import encoders_of
from fcp.evaluation.seen import learner_is_unknown, read_recipe, seen_in_training
from fcp.features.cache import FeatureCache
from fcp.features.frozen import FeatureIndex
from fcp.models.files import CONFIG_FILE, LEARNER_FILE, RECIPE_FILE
from fcp.models.free import load_free
from fcp.models.trained import build_learner, load_trained, save_base_learner

METHODS = ("ssp", "pfenet", "bam", "hdmnet", "cyctr")
OPTIM = {"iterations": 2, "batch": 2, "learning_rate": 1e-2, "warmup": 0, "log_every": 1}
OPTIONS = {
    "ssp": {"trained": ["first."]},
    "pfenet": {"width": 8, "bins": [1.0, 0.5]},
    "bam": {"width": 8},
    "hdmnet": {"width": 8},
    "cyctr": {"width": 16, "keys_per_shot": 8},
}


@pytest.fixture
def write(small_backbone, tmp_path):
    """Return a function that writes the recipe of a method."""
    learner = {"stage": "base_learner", "image_size": 64, "backbone": small_backbone, "width": 4}
    learner |= {"train_backbone": False, "views": "whole", "optim": OPTIM}
    (tmp_path / "learner.yaml").write_text(yaml.safe_dump(learner))

    def make(method, options=None, **more):
        values = {"stage": "method", "method": method, "image_size": 64, "fold": 0, "optim": OPTIM}
        values["options"] = {"backbone": small_backbone, **(options or OPTIONS[method])}
        if method in ("bam", "hdmnet"):
            values["base_learner_recipe"] = str(tmp_path / "learner.yaml")
        file = tmp_path / f"{method}.yaml"
        file.write_text(yaml.safe_dump({**values, **more}))
        return file

    return make


def fit(recipe, data_root, out, store=None, *, resume=False, overrides=()):
    lines = []
    train(
        recipe,
        overrides=overrides,
        data_root=data_root,
        out=out,
        resume=resume,
        report=lines.append,
        store=store,
    )
    return lines


def prepared(recipe, data_root, out, store=None):
    """Return the stage of a recipe."""
    recipe = load_recipe(recipe)
    learner = find_base_learner(recipe, data_root, out, report=lambda _: None)
    start = starting_method(recipe, learner)
    return recipe, method_stage(recipe, start, method_source(recipe, data_root), store)


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_becomes_a_folder(method, write, mini_voc, tmp_path):
    recipe = write(method, holdout_every=1, holdout_episodes=2)
    fit(recipe, mini_voc, tmp_path / "run")
    loaded = load_trained(tmp_path / "run")
    assert (loaded.method, loaded.image_size) == (method, 64)
    assert loaded.options.items() >= OPTIONS[method].items()
    rows = read_log(tmp_path / "run" / LOG_FILE)
    assert [row["step"] for row in rows] == ["1", "2"]
    scores = [float(row["holdout"]) for row in rows]
    assert read_recipe(tmp_path / "run/best")["method"] == method  # the run's
    best = load_trained(tmp_path / "run/best").model.state_dict()
    if scores[1] > scores[0]:
        assert all(torch.equal(best[n], t) for n, t in loaded.model.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_losses_fall(method, write, mini_voc, tmp_path):
    recipe, stage = prepared(write(method), mini_voc, tmp_path / "run")
    batch = stage.batches[Share(0)]
    torch.manual_seed(0)

    def total():
        """Return the mean loss over a few masks of dropout."""
        with torch.no_grad():
            return sum(float(stage.losses(batch)["total"]) for _ in range(4)) / 4

    before, trainer = total(), Trainer(stage, recipe.optim)
    for _ in range(25):
        trainer.step(0, [batch])
    assert total() < 0.95 * before


@pytest.mark.parametrize("method", ["pfenet", "hdmnet"])
def test_a_resumed_run_equals_an_uninterrupted_one(method, write, mini_voc, tmp_path):
    recipe = write(method, optim={**OPTIM, "iterations": 4, "schedule": "constant"})
    fit(recipe, mini_voc, tmp_path / "whole")
    fit(recipe, mini_voc, tmp_path / "cut", overrides=("optim.iterations=2",))
    assert (tmp_path / "cut" / CHECKPOINT_FILE).exists()
    fit(recipe, mini_voc, tmp_path / "cut", resume=True)
    one, other = (load_trained(tmp_path / name).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_best_of_a_run_without_checkpoint_goes_as_another_starts(
    write, mini_voc, tmp_path, killed
):
    out, best = tmp_path / "run", tmp_path / "run/best"
    judged = {"holdout_every": 1, "holdout_episodes": 2}
    with killed():
        fit(write("pfenet", optim={**OPTIM, "iterations": 3}, **judged), mini_voc, out)
    assert (best / CONFIG_FILE).exists()
    assert not (out / CHECKPOINT_FILE).exists()
    kept = {path: path.read_bytes() for path in best.iterdir()}
    recipe = (out / RECIPE_FILE).read_bytes()
    (out / RECIPE_FILE).unlink()
    with pytest.raises(FcpError, match=r"run/best: holds a model already; choose another --out"):
        fit(write("pfenet", fold=1), mini_voc, out)
    assert {path: path.read_bytes() for path in best.iterdir()} == kept
    (out / RECIPE_FILE).write_bytes(recipe)
    fit(write("pfenet", fold=1), mini_voc, out)
    assert not best.exists()


@pytest.mark.parametrize("method", ["pfenet", "hdmnet", "cyctr"])  # one of each view of a support
def test_stored_features_are_those_of_the_pixels(method, write, mini_voc, tmp_path):
    file = write(method)
    store = FeatureCache(tmp_path / "features", 1 << 24)
    _, pixels = prepared(file, mini_voc, tmp_path / "run")
    _, stored = prepared(file, mini_voc, tmp_path / "run", store)
    stored.model.load_state_dict(pixels.model.state_dict())
    pixels.model.eval(), stored.model.eval()
    with torch.no_grad():
        for _ in range(2):  # the second time the entries are read
            one, two = (stage.losses(stage.batches[Share(1)]) for stage in (pixels, stored))
            for name, value in one.items():
                assert float(two[name]) == pytest.approx(float(value), rel=2e-3)
    assert list((tmp_path / "features").glob("*/*.safetensors"))


def test_the_hold_out_takes_features_of_the_trainings_precision(write, mini_voc, tmp_path):
    store = FeatureCache(tmp_path / "features", 1 << 24)
    optim = {**OPTIM, "precision": "bf16"}
    recipe = write("pfenet", holdout_every=1, holdout_episodes=2, optim=optim)
    fit(recipe, mini_voc, tmp_path / "run", store)
    encoders, data = encoders_of(load_trained(tmp_path / "run")), PascalVOC(mini_voc)
    pictures = [Picture(data, name, 64) for name in holdout_lists(data, 0).rows]
    found = {
        precision: [FeatureIndex(encoders, store, precision).look(one) for one in pictures]
        for precision in ("no", "bf16")
    }
    assert any(one.backbone for one in found["bf16"])
    assert not any(one.backbone for one in found["no"])


def test_a_store_is_refused_where_features_change(write, mini_voc, tmp_path):
    store = FeatureCache(tmp_path / "features", 1 << 24)
    with pytest.raises(FcpError, match="training changes the backbone"):
        fit(write("ssp"), mini_voc, tmp_path / "run", store)
    with pytest.raises(FcpError, match="views=augmented"):
        fit(write("pfenet", views="augmented"), mini_voc, tmp_path / "run", store)
    released = {**OPTIONS["pfenet"], "released": True}
    with pytest.raises(FcpError, match="training changes the backbone"):
        fit(write("pfenet", released), mini_voc, tmp_path / "run", store)


@pytest.mark.parametrize(
    ("batch", "accumulate", "several", "fits"),
    [(1, 1, 1, False), (8, 8, 1, False), (8, 4, 1, True), (8, 1, 8, False), (16, 1, 8, True)],
)
def test_each_part_of_a_base_learners_step_has_two_pictures(
    monkeypatch, batch, accumulate, several, fits
):
    optim = OptimConfig(iterations=1, batch=batch, learning_rate=1e-3, accumulate=accumulate)
    state = SimpleNamespace(num_processes=several)
    monkeypatch.setattr("fcp.engine.train_base_learner.processes", lambda: state)
    told = "at least 2 pictures in each part of a step"
    with nullcontext() if fits else pytest.raises(FcpError, match=told):
        require_pairs(optim)


def test_a_base_learner_is_trained_once_and_shared(write, mini_voc, tmp_path):
    first = fit(write("bam"), mini_voc, tmp_path / "bam")
    assert any("base learner is missing" in line for line in first)
    (learner,) = (tmp_path / LEARNERS).iterdir()
    assert learner.name.startswith("learner-pascal5i-fold0-")
    recipe = (learner / RECIPE_FILE).read_text()
    assert (tmp_path / "bam" / LEARNER_FILE).read_text() == recipe
    second = fit(write("hdmnet"), mini_voc, tmp_path / "hdmnet")
    assert not any("missing" in line for line in second)
    models = [load_trained(tmp_path / name).model for name in ("bam", "hdmnet")]
    one, other = (model.learner.state_dict() for model in models)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert models[0].learner.classes == 15


@pytest.mark.parametrize("method", ["bam", "hdmnet"])
def test_a_base_learner_is_trained_on_the_methods_backbone(
    method, write, mini_voc, tmp_path, monkeypatch, small_backbone
):
    build, asked = BACKBONES[small_backbone], []

    def from_weights(weights, **options):
        asked.append(weights)
        return build(weights, **options)

    monkeypatch.setitem(BACKBONES, small_backbone, from_weights)
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"")
    backbone = {"name": small_backbone, "options": {"width": 6}}
    given = (f"backbone_weights={weights}", f"options.backbone={json.dumps(backbone)}")
    fit(write(method), mini_voc, tmp_path / "run", overrides=given)
    recipe = json.loads((tmp_path / "run" / LEARNER_FILE).read_text())
    assert (recipe["backbone"], recipe["backbone_weights"]) == (backbone, str(weights))
    assert asked[0] == str(weights)
    assert load_trained(tmp_path / "run").model.backbone.mid_channels == 6
    (learner,) = (tmp_path / LEARNERS).iterdir()
    named = f"base_learner={learner}"
    fit(write(method), mini_voc, tmp_path / "again", overrides=(*given, named))  # they agree


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("backbone_weights=FILE", "backbone_weights: FILE would do nothing.*backbone_weights=null"),
        (
            "options.backbone={name: small, options: {width: 6}}",
            "options.backbone: .*'width': 6.* is not the backbone of .*learner, which is small",
        ),
    ],
)
def test_a_backbone_that_a_named_base_learner_overrides_is_refused(
    write, mini_voc, tmp_path, setting, message
):
    learner = tmp_path / "learner"
    fit(tmp_path / "learner.yaml", mini_voc, learner, overrides=("fold=0",))
    recipe, given = write("bam", base_learner=str(learner)), (setting,)
    with pytest.raises(FcpError, match=message):
        fit(recipe, mini_voc, tmp_path / "run", overrides=given)
    with pytest.raises(FcpError, match=message):
        dry_run(recipe, overrides=given, data_root=mini_voc, report=lambda _: None)
    alike = ("backbone_weights=null", "options.backbone={name: small}")
    fit(recipe, mini_voc, tmp_path / "run", overrides=alike)


def test_a_base_learner_of_another_fold_is_refused(write, mini_voc, tmp_path):
    fit(write("bam"), mini_voc, tmp_path / "bam")
    (learner,) = (tmp_path / LEARNERS).iterdir()
    recipe = write("bam", fold=1, base_learner=str(learner), base_learner_recipe=None)
    with pytest.raises(FcpError, match="trained with fold=0, not 1"):
        fit(recipe, mini_voc, tmp_path / "other")


def test_a_begun_base_learner_of_another_fold_is_refused(write, mini_voc, tmp_path, killed):
    longer = ("optim.iterations=3", "optim.checkpoint_every=1")
    folder = tmp_path / "learner"
    recipe = write("bam", fold=1, base_learner=str(folder))
    with killed():
        fit(tmp_path / "learner.yaml", mini_voc, folder, overrides=("fold=0", *longer))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(FcpError, match=r"other settings: fold \(was 0, now 1\); resume"):
        fit(recipe, mini_voc, tmp_path / "run")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_base_learner_without_recipe_is_recorded_as_unknown(write, mini_voc, tmp_path):
    backbone = load_recipe(write("bam")).options["backbone"]
    save_base_learner(build_learner(backbone, None, 15, 4), backbone, tmp_path / "l")
    judged = {"holdout_every": 2, "holdout_episodes": 2, "base_learner_recipe": None}
    fit(write("bam", base_learner=str(tmp_path / "l"), **judged), mini_voc, tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path / "run/best"):
        assert learner_is_unknown(folder)
        assert seen_in_training(PascalVOC(mini_voc), 0, folder) == "unknown"


def test_a_base_learner_of_another_number_of_classes_is_refused(write, mini_voc, tmp_path):
    backbone = load_recipe(write("bam")).options["backbone"]
    save_base_learner(build_learner(backbone, None, 3, 4), backbone, tmp_path / "l")  # no recipe
    recipe = write("bam", base_learner=str(tmp_path / "l"), base_learner_recipe=None)
    with pytest.raises(FcpError, match="knows 3 classes, and pascal5i has 15 base classes"):
        prepared(recipe, mini_voc, tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"base_learner_recipe": None}, "bam starts from one; name its folder"),
        ({"base_learner": "none", "base_learner_recipe": None}, "none: no base learner; train one"),
        ({"base_learner_recipe": "tiny-pfenet"}, "tiny-pfenet is of stage method"),
    ],
)
def test_a_missing_base_learner_says_the_remedy(write, mini_voc, tmp_path, more, message):
    with pytest.raises(FcpError, match=message):
        fit(write("bam", **more), mini_voc, tmp_path / "run")


def test_an_unknown_method_is_refused(write, mini_voc, tmp_path):
    with pytest.raises(FcpError, match="method: expected one of ssp, pfenet"):
        fit(write("pfenet"), mini_voc, tmp_path / "run", overrides=("method=pfnet",))


def test_a_run_records_its_recipe(write, mini_voc, tmp_path):
    fit(write("pfenet"), mini_voc, tmp_path / "run")
    recipe = json.loads((tmp_path / "run" / RECIPE_FILE).read_text())
    assert (recipe["stage"], recipe["method"], recipe["fold"]) == ("method", "pfenet", 0)
    with pytest.raises(FcpError, match="holds a run already"):
        fit(write("pfenet"), mini_voc, tmp_path / "run")


def test_what_trains_nothing_is_written_as_it_starts(write, mini_voc, tmp_path):
    recipe = write("ssp", options={"trained": []})
    (line, last) = fit(recipe, mini_voc, tmp_path / "run")
    assert line == "nothing to train: ssp has no weights beside its frozen backbone's"
    assert last == f"model written to {tmp_path / 'run'}"
    loaded = load_recipe(recipe)
    start = starting_method(loaded, None).model.state_dict()
    found = load_trained(tmp_path / "run").model.state_dict()
    assert all(found[name].equal(tensor) for name, tensor in start.items())
    assert not (tmp_path / "run" / CHECKPOINT_FILE).exists()
    lines = []
    dry_run(recipe, overrides=(), data_root=mini_voc, report=lines.append)
    assert lines == ["nothing to train: the recipe leaves all weights as they are"]


def test_names_that_no_parameter_has_are_an_error(write, mini_voc, tmp_path):
    recipe = write("ssp", options={"trained": ["frist."]})
    with pytest.raises(FcpError, match="the recipe trains no parameter; let it train a part"):
        fit(recipe, mini_voc, tmp_path / "run")


def test_a_recipe_of_a_method_without_training_becomes_its_folder(mini_voc, toy_recipes, tmp_path):
    stage = f"segmenter_folder={toy_recipes / 'tiny-promptable-13'}"
    given, recipe = ("fold=1", stage), toy_recipes / "tiny-gf-sam.yaml"
    (line,) = fit(recipe, mini_voc, tmp_path / "run", overrides=given)
    assert line == f"nothing to train: gf-sam written to {tmp_path / 'run'}"
    method = load_free(tmp_path / "run").method
    kept = load_file(toy_recipes / "tiny-promptable-13" / "segmenter.safetensors")
    assert all(kept[name].equal(tensor) for name, tensor in method.segmenter.state_dict().items())
    assert (method.size, method.released) == (64, False)
    assert read_recipe(tmp_path / "run")["fold"] == 1
    with pytest.raises(FcpError, match="segmenter_folder: segmenter 'tiny'"):
        fit(recipe, mini_voc, tmp_path / "other")
