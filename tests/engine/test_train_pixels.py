"""Training of head and backbone together whole, at toy size, from a trained model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from engine.test_train_stored import RECIPE, run
from safetensors.torch import save_file

from fcp.data.mixed import MixedTask, TaskSource
from fcp.data.pascal import PascalVOC
from fcp.data.transforms import mask_to_square, to_square
from fcp.encoders import build_segmenter
from fcp.engine.pixel_batches import answer_views, draw_episode, stack_pixels
from fcp.engine.recipe import load_recipe
from fcp.engine.train_head import starting_model
from fcp.errors import FcpError
from fcp.models.checkpoint import load_model


@pytest.fixture(scope="module")
def start(tmp_path_factory, mini_root):
    """Return the folder of a model whose encoders were frozen, and the file of its recipe."""
    folder = tmp_path_factory.mktemp("start")
    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    run(file, mini_root, folder / "run")
    return folder / "run", file


@pytest.fixture(scope="module")
def tuned(start, mini_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "run"
    run(start[1], mini_root, out, *settings(start))
    return out


def settings(start):
    return (f"start={start[0]}", "train_backbone=true", "optim.pretrained_scale=0.5")


def test_it_trains_head_and_backbone_and_leaves_the_segmenter(start, tuned):
    before, after = load_model(start[0]), load_model(tuned)
    assert after.config == before.config
    first, last = before.state_dict(), after.state_dict()
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    parts = {name.split(".")[0] for name in changed}
    assert parts == {"head", "backbone"}
    assert "backbone._conv_stem.weight" in changed
    assert not any("running" in name for name in changed)  # batch norms keep their statistics
    assert load_model(tuned / "best").config == before.config


def test_a_resumed_run_ends_alike(start, tuned, mini_root, tmp_path, killed):
    with killed():
        run(start[1], mini_root, tmp_path / "again", *settings(start))
    run(start[1], mini_root, tmp_path / "again", *settings(start), resume=True)
    whole, again = load_model(tuned).state_dict(), load_model(tmp_path / "again").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_saved_model_takes_the_size_that_the_recipe_wants_and_is_a_start(
    start, tuned, mini_root, tmp_path
):
    """Training itself stays at its own size."""
    run(start[1], mini_root, tmp_path / "larger", *settings(start), "test_size=96")
    larger, same = load_model(tmp_path / "larger"), load_model(tuned)
    assert (larger.config.image_size, same.config.image_size) == (96, 64)
    assert replace(larger.config, image_size=64) == same.config
    assert load_model(tmp_path / "larger/best").config == larger.config
    ours, theirs = larger.state_dict(), same.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    again = starting_model(load_recipe(start[1], (f"start={tmp_path / 'larger'}",)))
    assert again.config.image_size == 64
    with pytest.raises(FcpError, match=r"other settings .*image_size"):
        starting_model(
            load_recipe(start[1], (f"start={tmp_path / 'larger'}", "model.image_size=96"))
        )
    with pytest.raises(FcpError, match="test_size: expected at least 1, got 0"):
        load_recipe(start[1], ("test_size=0",))


@pytest.mark.parametrize(
    ("setting", "told"),
    [("benchmark=coco20i", "benchmark=pascal5i"), ("unfiltered=true", "unfiltered=False")],
)
def test_a_start_of_another_benchmark_is_refused(start, setting, told):
    with pytest.raises(FcpError, match=f"start: .* was trained with {told}, .* would be known"):
        starting_model(load_recipe(start[1], (f"start={start[0]}", setting)))


def test_a_segmenter_folder_replaces_the_segmenter_of_the_start(start, tmp_path):
    other = build_segmenter(load_model(start[0]).config.segmenter)
    save_file(other.state_dict(), tmp_path / "segmenter.safetensors")
    (tmp_path / "recipe.json").write_text('{"exclude_folds": [0]}')
    given = (f"start={start[0]}", f"segmenter_folder={tmp_path}")
    model = starting_model(load_recipe(start[1], given)).state_dict()
    before = load_model(start[0]).state_dict()
    expected = {f"segmenter.{name}": tensor for name, tensor in other.state_dict().items()}
    assert not all(before[name].equal(tensor) for name, tensor in expected.items())
    before |= expected
    assert all(tensor.equal(before[name]) for name, tensor in model.items())
    with pytest.raises(FcpError, match=r"segmenter_folder: segmenter 'tiny': .*none"):
        starting_model(load_recipe(start[1], (given[0], f"segmenter_folder={tmp_path / 'none'}")))


def copy_model(folder, to):
    """Copy a model without its recipe."""
    for name in ("config.json", "model.safetensors"):
        (to / name).write_bytes((folder / name).read_bytes())


def test_a_model_of_another_fold_is_no_start(start):
    with pytest.raises(FcpError, match=r"trained with fold=0, the recipe\s+has fold=1"):
        starting_model(load_recipe(start[1], (f"start={start[0]}", "fold=1")))


def test_a_model_that_knows_the_held_out_kinds_is_no_start(start, tmp_path):
    copy_model(start[0], tmp_path)
    recipe = json.loads((start[0] / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps(recipe | {"hold_out_kinds": False}))
    with pytest.raises(FcpError, match="hold_out_kinds"):
        starting_model(load_recipe(start[1], (f"start={tmp_path}",)))


def test_a_model_of_other_settings_is_no_start(start):
    with pytest.raises(FcpError, match=r"other settings .*head\.tokens"):
        starting_model(load_recipe(start[1], (f"start={start[0]}", "model.head.tokens=4")))


def test_a_missing_start_is_named(start, tmp_path):
    with pytest.raises(FcpError, match="nowhere"):
        starting_model(load_recipe(start[1], (f"start={tmp_path / 'nowhere'}",)))


def test_a_start_whose_recipe_is_lost_is_refused(start, tmp_path):
    """Nobody could tell which classes it has seen."""
    copy_model(start[0], tmp_path)
    with pytest.raises(FcpError, match=r"recipe\.json"):
        starting_model(load_recipe(start[1], (f"start={tmp_path}",)))


def test_the_best_model_of_a_run_is_a_start(start, tmp_path):
    """Its recipe lies in the run's folder, one above."""
    best = tmp_path / "best"
    best.mkdir()
    copy_model(start[0], best)
    (tmp_path / "recipe.json").write_bytes((start[0] / "recipe.json").read_bytes())
    model = starting_model(load_recipe(start[1], (f"start={best}",)))
    expected = load_model(start[0]).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    with pytest.raises(FcpError, match="trained with fold=0"):
        starting_model(load_recipe(start[1], (f"start={best}", "fold=1")))


def task_of(voc, *, present=True):
    query = "train_06_1" if present else "train_07_0"
    return MixedTask(TaskSource("voc", voc, None, {}), 6, ("train_06_0",), query, present)


def test_whole_photos_are_those_of_the_data(mini_root):
    voc = PascalVOC(mini_root)
    episode = draw_episode(task_of(voc), 64, None)
    assert torch.equal(episode["query_images"], to_square(voc.image("train_06_1"), 64))
    expected = mask_to_square(voc.class_mask("train_06_1", 6), 64)
    known = episode["query_masks"] != 255
    assert torch.equal(episode["query_masks"][known], expected[known])
    assert episode["present"] == 1


def test_drawn_views_carry_their_masks_along(mini_root):
    """A photo painted by its own mask stays so under crop and mirror, but for the colours."""
    voc = PascalVOC(mini_root)

    class Painted(PascalVOC):
        def image(self, picture):
            mask = self.class_mask(picture, 6)
            return np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, 2)

    painted = Painted(mini_root)
    whole = draw_episode(task_of(voc), 64, None)["support_masks"]
    differing = 0
    for seed in range(12):
        episode = draw_episode(task_of(painted), 64, np.random.default_rng(seed))
        image, mask = episode["support_images"][0].mean(0), episode["support_masks"][0]
        inside, outside = image[mask > 0].median(), image[mask == 0].median()
        assert inside > outside
        differing += not torch.equal(mask, whole[0])
    assert 0 < differing < 12  # some are cut, some are whole


def test_an_absent_query_asks_for_presence_alone(mini_root):
    task = task_of(PascalVOC(mini_root), present=False)
    episode = draw_episode(task, 64, np.random.default_rng(0))
    assert (episode["query_masks"] == 255).all()
    assert episode["present"] == 0


def test_an_answer_is_that_of_the_model_without_a_mask_in_stage_4(start, mini_root):
    """Only the conventional mask reads stage 4, and the correlation's stands in its place."""
    model, voc = load_model(start[0]), PascalVOC(mini_root)
    batch = stack_pixels([draw_episode(task_of(voc), 64, None)])
    with torch.no_grad():
        answer = answer_views(model, batch)
        support = model.encode_support(
            batch["support_images"], batch["support_masks"], fusion="pooled"
        )
        expected = model.match(support, model.encode_query(batch["query_images"]))
    torch.testing.assert_close(answer.mask_logits, expected.mask_logits)


def test_the_run_says_where_it_went_on_from(start, tuned):
    assert json.loads((tuned / "recipe.json").read_text())["start"] == str(start[0])
