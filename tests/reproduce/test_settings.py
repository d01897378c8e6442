"""Settings reach the cells that they name, and what fits no cell is refused before any training."""

import pytest
import torch
from safetensors.torch import save_file

from fcp.config import BackboneConfig
from fcp.encoders import build_backbone
from fcp.engine.method_recipe import MethodRecipe
from fcp.engine.recipe import HeadRecipe, shipped_recipes
from fcp.errors import FcpError
from fcp.reproduce.plan import SCALES, choose, experiments
from fcp.reproduce.recipes import Workplace, learner_of, recipe_of
from fcp.reproduce.settings import (
    OF_BASE_LEARNER,
    OF_PROMPTABLE,
    is_place,
    refuse_unfit,
    settings_of_stage,
)

RECIPES = shipped_recipes()["tiny"].parent
PAPER = experiments("table1", SCALES["paper"], (0,))
TINY = experiments("table1", SCALES["tiny"], (1,), 1)


def recipe(cell, *given, wanted=PAPER, root=RECIPES):
    place = Workplace(root, root, RECIPES, settings=given)
    return recipe_of(choose(wanted, cell)[0], place)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """Random weights of the published ResNet-50, as a file."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet50.safetensors"
    save_file(
        build_backbone(BackboneConfig("resnet50", options={"stem": "7x7"})).state_dict(), file
    )
    return str(file)


def test_a_setting_reaches_its_cell_alone():
    given = ("pascal5i-resnet50.optim.batch=2", "coco20i-vgg16/BAM.optim.batch=4")
    batches = {e.cell: recipe(e.cell, *given).optim.batch for e in PAPER}
    plain = {e.cell: recipe(e.cell).optim.batch for e in PAPER}
    for cell, batch in batches.items():
        changed = {"pascal5i-resnet50": 2}.get(cell.partition("/")[0], plain[cell])
        assert batch == (4 if cell == "coco20i-vgg16/BAM" else changed)


def test_the_backbones_weights_have_one_name_in_all_recipes():
    given = "pascal5i-resnet50.backbone_weights=my.pth"
    assert recipe("pascal5i-resnet50/FCP", given).model.backbone.weights == "my.pth"
    assert recipe("pascal5i-resnet50/PFENet", given).backbone_weights == "my.pth"
    for cell in ("pascal5i-vgg16/FCP", "coco20i-resnet50/FCP"):
        assert recipe(cell, given) == recipe(cell)
    tiny = recipe("pascal5i-tiny/FCP", "backbone_weights=here", wanted=TINY)
    assert (tiny.backbone_weights, tiny.model.backbone.weights) == ("here", None)


def test_a_setting_without_a_cell_reaches_the_recipes_that_know_it():
    given = ("model.head.tokens=4", "options.width=64")
    assert recipe("pascal5i-tiny/FCP", *given, wanted=TINY).model.head.tokens == 4
    assert recipe("pascal5i-tiny/PFENet", *given, wanted=TINY).options["width"] == 64
    refuse_unfit(TINY, RECIPES, given)


def test_the_encoders_of_all_rows_have_one_name():
    lite = "{layers: [6, 10], output_stride: 16}"
    given = (
        "model.backbone.name=efficientnet_lite",
        f"model.backbone.options={lite}",
        "model.segmenter.options.mixer=true",
        "model.image_size=384",
    )
    refuse_unfit(TINY, RECIPES, given)
    expected = {"name": "efficientnet_lite", "options": {"layers": [6, 10], "output_stride": 16}}
    for cell in {e.cell for e in TINY}:
        found = recipe(cell, *given, wanted=TINY)
        if isinstance(found, MethodRecipe):
            assert (found.options["backbone"], found.image_size) == (expected, 384)
        else:
            own = found.model if isinstance(found, HeadRecipe) else found.encoders
            assert {"name": own.backbone.name, "options": own.backbone.options} == expected
            assert own.segmenter.options["mixer"]
            assert own.image_size == 384


def test_a_base_learner_has_the_backbone_of_its_method():
    wanted = choose(TINY, "pascal5i-tiny/BAM")[0]
    place = Workplace(
        RECIPES, RECIPES, RECIPES, settings=("model.backbone.options.layers=[5, 12]",)
    )
    method = recipe_of(wanted, place)
    learner = learner_of(wanted, method, place)
    assert learner.backbone == method.options["backbone"]
    assert learner.backbone["options"]["layers"] == [5, 12]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("pascal5i-resnet5.seed=1", "pascal5i-resnet5: no such cell; choose one of pascal5i-res"),
        ("pascal5i-vgg16/SSP.seed=1", "pascal5i-vgg16/SSP: no such cell"),
        ("seed=7", "seed: each row has its own; say how many with --seeds"),
        ("pascal5i-resnet50/PFENet.fold=2", "fold: each row has its own; .* --fold"),
        ("segmenter_folder=mine", "segmenter_folder: .* with --promptable"),
        ("promptable.exclude_folds=[0]", "promptable.exclude_folds: the folds that"),
        ("base_learner.fold=0", "base_learner.fold: that of the row"),
        ("tokens=4", "tokens: no recipe of these cells knows this setting"),
        ("pascal5i-resnet50/PFENet.loss.guide=0", "unknown setting 'loss'"),
        ("optim.batch=zero", "batch"),
    ],
)
def test_what_nothing_knows_is_refused(setting, message):
    with pytest.raises(FcpError, match=message):
        refuse_unfit(PAPER, RECIPES, (setting,))


def test_weights_that_do_not_fit_are_refused_with_the_cells(resnet):
    few = [e for e in PAPER if e.row in ("FCP", "PFENet") and e.setting.benchmark == "pascal5i"]
    with pytest.raises(FcpError, match="does not fit pascal5i-vgg16/PFENet, ") as refused:
        refuse_unfit(few, RECIPES, (f"backbone_weights={resnet}",))
    assert "pascal5i-vgg16/FCP" in str(refused.value)
    assert "pascal5i-resnet50/" not in str(refused.value)
    assert str(refused.value).endswith("as in pascal5i-resnet50.backbone_weights=FILE")
    refuse_unfit(few, RECIPES, (f"pascal5i-resnet50.backbone_weights={resnet}",))


def test_stages_that_are_trained_before_have_settings_of_their_own():
    (fcp,) = choose(TINY, "pascal5i-tiny/FCP")
    (bam,) = choose(TINY, "pascal5i-tiny/BAM")
    given = (
        *("promptable.seed=1", "base_learner.seed=2", "seed=3"),
        "pascal5i-tiny/BAM.base_learner.width=8",
    )
    assert settings_of_stage(given, fcp, OF_PROMPTABLE) == ("seed=1",)
    assert settings_of_stage(given, fcp, OF_BASE_LEARNER) == ("seed=2",)
    assert settings_of_stage(given, bam, OF_BASE_LEARNER) == ("seed=2", "width=8")
    assert recipe("pascal5i-tiny/BAM", *given, wanted=TINY).seed == 0


def test_places_of_weights_are_known():
    assert is_place("pascal5i-resnet50.backbone_weights=a")
    assert is_place("model.segmenter.weights=a")
    assert not is_place("optim.batch=2")
