"""The benchmarks at toy size: what they compare, and that they count right."""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fcp.config import HeadConfig
from fcp.data.dataset import ClassExample, Picture
from fcp.data.folds import novel_classes
from fcp.data.pascal import PascalVOC
from fcp.data.prompts import annotation_mask
from fcp.encoders.mobilenet import build_mobilenet_v2
from fcp.encoders.tiny import paint_boxes
from fcp.engine.recipe import load_recipe
from fcp.inference.segmenter import FewShotSegmenter
from fcp.method.fcp.head import FCPHead
from fcp.structures import Decoded, Embedding

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Return a function: benchmark's name → its module."""

    monkeypatch.syspath_prepend(FOLDER)  # some share code, as scripts of one folder do

    def load_module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load_module


@pytest.mark.parametrize(("shots", "queries"), [(1, 1), (3, 1), (1, 4)])
def test_the_heads_plain_version_agrees(shots, queries, monkeypatch, load):
    benchmark = load("head")
    sizes = {"GRID": 8, "IMAGE": 64, "MID_CHANNELS": 12, "HIGH_CHANNELS": 16}
    for name, value in sizes.items():
        monkeypatch.setattr(benchmark, name, value)
    torch.manual_seed(0)
    head = FCPHead(HeadConfig(), 12).eval()
    case = benchmark.make_case("toy", 1.0, shots, queries)
    row = benchmark.measure(head, case, 1)
    assert row["difference"] < 1e-4
    assert set(row) == {"case", "plain_s", "ours_s", "ratio", "asked", "difference"}


class BoxFiller:
    """A promptable segmenter that answers a painted box with it, and tokens alone with nothing."""

    def encode(self, images):
        return Embedding(image=images)

    def embed_prompts(self, *, boxes):
        return boxes[:, None], paint_boxes(boxes, 80)

    def decode(self, embedding, prompts, mask_prompt):
        logits = -torch.ones(1, 80, 80) if mask_prompt is None else mask_prompt[:, 0]
        return Decoded(logits=logits, iou=torch.ones(len(prompts)))


def test_a_segmenter_that_fills_the_box_scores_as_the_filled_box(mini_voc, load):
    scores = load("box_prompt").score(BoxFiller(), PascalVOC(mini_voc), 0, image_size=64)
    floor = scores["filled box"]["miou"]
    assert 50 < floor <= 100
    assert scores["box prompt"]["miou"] == pytest.approx(floor, abs=3)  # the mask has 80² cells
    assert {scores[name]["miou"] for name in ("corners alone", "zeros")} == {0}
    names = {"aeroplane", "bicycle"}
    assert set(scores["filled box"]["class_iou"]) == names


def test_hints_that_are_the_thing_score_full(mini_voc, load, model_folder, monkeypatch):
    benchmark, data = load("hints"), PascalVOC(mini_voc)

    def answer(segmenter, picture, hint, support):
        assert (support is None) or set(support.classes) == {"thing"}
        if not hint.boxes:
            return np.zeros(picture.shape[:2], bool)
        return annotation_mask(hint.boxes[0], picture.shape[:2])

    monkeypatch.setattr(benchmark, "find_hinted", answer)
    segmenter = FewShotSegmenter.from_pretrained(model_folder, device="cpu")
    scores = benchmark.score(segmenter, data, 0)
    assert scores["box"] == scores["filled box"] > 50
    assert {score for name, score in scores.items() if "point" in name} == {0}
    assert len(scores) == 6


@pytest.fixture
def mini_coco(tmp_path):
    """Write 4 pictures: two with a zebra, two with a kite (one of them tiny), a cat in each."""
    root = tmp_path / "COCO"
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    names = [f"{number:012d}.jpg" for number in range(4)]
    for name in names:
        Image.new("RGB", (50, 40), "grey").save(root / "val2017" / name)
    shapes = [(0, 1, 20), (1, 1, 30), (2, 2, 20), (3, 2, 2)]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "iscrowd": 0,
            "segmentation": [[0, 0, side, 0, side, side, 0, side]],
        }
        for number, (image, category, side) in enumerate(
            [*shapes, *((image, 3, 15) for image in range(4))], start=1
        )
    ]
    content = {
        "images": [
            {"id": i, "file_name": name, "height": 40, "width": 50} for i, name in enumerate(names)
        ],
        "categories": [
            {"id": 1, "name": "zebra"},
            {"id": 2, "name": "kite"},
            {"id": 3, "name": "cat"},
        ],
        "annotations": annotations,
    }
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return tmp_path


def test_coco_leaves_out_vocs_categories_and_those_without_two_pictures(mini_coco, load):
    benchmark = load("coco_novel")
    found = benchmark.novel_pictures(mini_coco)
    assert list(found) == ["zebra"]
    assert [mask.sum() for _, mask in found["zebra"]] == pytest.approx([400, 900], rel=0.06)


def test_coco_asks_for_each_picture_with_the_next_as_example(mini_coco, load):
    benchmark = load("coco_novel")
    pictures = benchmark.novel_pictures(mini_coco)
    asked = []

    class Copycat:
        """Answers with the example's own mask."""

        def fit(self, examples, appearance):
            assert appearance == "off"
            self.example = examples[0]
            return self

        def predict(self, query, threshold):
            assert threshold == 0  # a mask is drawn, whatever the presence
            asked.append((self.example[0], query))
            return SimpleNamespace(mask=self.example[1])

    (first, small), (second, large) = pictures["zebra"]
    scores = benchmark.score(Copycat(), pictures).compute()
    assert asked == [(second, first), (first, second)]
    assert scores.miou == pytest.approx(small.sum() / large.sum())


def test_coco_asks_with_the_next_examples_around_the_end(load):
    asked = []

    class Asked:
        def fit(self, examples, appearance):
            self.examples = [name for name, _ in examples]

        def predict(self, query, threshold):
            asked.append((query, *self.examples))
            return SimpleNamespace(mask=np.ones((2, 2), bool))

    pictures = [(name, np.ones((2, 2), bool)) for name in "abcd"]
    load("coco_novel").score(Asked(), {"zebra": pictures}, 2)
    assert asked == [("a", "b", "c"), ("b", "c", "d"), ("c", "d", "a"), ("d", "a", "b")]


def test_a_forest_of_pixels_tells_colours_apart(load):
    benchmark = load("appearance")
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 10:40, 20:50], masks[1, 30:55, 5:70] = True, True
    colours = np.array([[40, 60, 200], [200, 60, 40]], np.uint8)
    (example, asked) = [(colours[mask.astype(int)], mask) for mask in masks]
    found = benchmark.forest_masks([example], [asked[0]])
    assert benchmark.mean_iou(found, [asked]) > 0.97


def test_training_free_maps_find_a_thing_in_its_own_picture(mini_voc, load):
    benchmark, data = load("training_free"), PascalVOC(mini_voc)
    torch.manual_seed(0)
    predictor = benchmark.TrainingFree(build_mobilenet_v2(None, layers=benchmark.LAYERS))
    class_id = novel_classes(0)[0]
    example = ClassExample(data, "val_01_0", 64, class_id)
    maps = predictor([example], Picture(data, "val_01_0", 64))
    kinds = {name.partition("@")[0] for name in maps} - {"mask"}
    assert kinds == set(benchmark.CUTS)
    inside = torch.nn.functional.interpolate(example.mask()[None, None], (8, 8), mode="area")[0, 0]
    for kind, cuts in benchmark.CUTS.items():
        lowest, highest = (maps[f"{kind}@{cut:.2f}"] for cut in (cuts[0], cuts[-1]))
        torch.testing.assert_close(lowest - highest, torch.full((8, 8), float(np.ptp(cuts))))
        if kind != "conventional":  # its masked stage is not the query's where weights are random
            assert lowest[inside == 1].mean() > lowest[inside == 0].mean()


def test_training_free_reports_the_best_cut_of_each_kind(
    mini_voc, toy_recipes, tmp_path, load, capsys
):
    (tmp_path / "VOC2012").symlink_to(mini_voc / "VOC2012")
    photos = tmp_path / "BSDS500/images/train"
    photos.mkdir(parents=True)
    Image.linear_gradient("L").convert("RGB").save(photos / "1.jpg")
    benchmark = load("training_free")
    weights = ["--weights", str(toy_recipes / "mobilenet"), "--fold", "0"]
    benchmark.main([*weights, "--data-root", str(tmp_path), "--episodes", "2"])
    report = json.loads(capsys.readouterr().out)
    assert set(report) == set(benchmark.CUTS)
    for kind, found in report.items():
        assert found["threshold"] in benchmark.CUTS[kind].round(2)
        assert 0 <= found["miou"] <= 100
        assert set(found["class_iou"]) <= {"aeroplane", "bicycle"}


def test_each_recipe_of_a_real_segmenter_has_sizes_for_random_weights(load):
    benchmark = load("recipes")
    names = [path.stem for path in benchmark.RECIPES.glob("*[05]i-*-sam*.yaml")]
    assert len(names) == 12
    for name in names:
        recipe = load_recipe(
            benchmark.RECIPES / f"{name}.yaml", tuple(benchmark.one_random_step(name))
        )
        assert (recipe.model.backbone.weights, recipe.model.segmenter.weights) == (None, None)
        assert recipe.optim.steps(samples_per_epoch=1) == 1
        has_config = [
            "config" in recipe.model.backbone.options,
            "config" in recipe.model.segmenter.options,
        ]
        assert has_config == [recipe.model.backbone.name == "auto", True]


TOY_SAM = {
    "vision_config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "window_size": 2,
        "global_attn_indexes": [1],
        "mlp_dim": 48,
    },
    "prompt_encoder_config": {"image_size": 64},
}
TOY_HIERA = {
    "vision_config": {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [64, 64],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [4, 4, 4, 2],
            "global_attention_blocks": [3],
            "window_positional_embedding_background_size": [4, 4],
        },
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    },
    "prompt_encoder_config": {"image_size": 64, "patch_size": 16},
}
TOY_DINO = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.mark.parametrize(
    "name",
    ["pascal5i-vgg16-sam-vit-b", "coco20i-resnet50-sam2", "coco20i-dinov2-sam-vit-h"],
)
def test_a_recipe_runs_a_step_at_toy_size(name, monkeypatch, load):
    benchmark = load("recipes")
    toys = {
        **dict.fromkeys(benchmark.ARCHITECTURES, None),
        "facebook/dinov2-base": TOY_DINO,
        "facebook/sam-vit-base": TOY_SAM,
        "facebook/sam-vit-huge": TOY_SAM,
        "facebook/sam2.1-hiera-large": TOY_HIERA,
    }
    monkeypatch.setattr(benchmark, "ARCHITECTURES", toys)
    line = benchmark.row(name, ["model.image_size=64"])
    assert re.fullmatch(rf"\| {name} \| [\d.]+ M \| [\d.]+ M \| 1 \| \d+ \| [\d.]+ GiB \|", line)
    trainable = float(line.split(" | ")[1].removesuffix(" M"))
    assert 1 < trainable < 5  # the head at its true width, and nothing of the encoders


def test_a_recipes_line_is_the_dry_runs_report(load):
    text = (
        "1,234,567 trainable and 641,090,608 frozen parameters, 2.5 MiB\n"
        "peak memory 5,120.0 MiB of one process on cpu\n1 steps, 93.56 s each, 0:01:34 in all"
    )
    expected = "| x | 1.23 M | 641.1 M | 1 | 94 | 5.0 GiB |"
    assert load("recipes").summary("x", text) == expected


def test_presence_is_scored_as_by_hand(load):
    benchmark = load("presence")
    truth = np.array([True] * 20 + [False] * 10)
    probability = np.concatenate([np.linspace(0.05, 1.0, 20), np.linspace(0.0, 0.45, 10)])
    scores = benchmark.measure(truth, probability, threshold=0.3)
    pairs = [(a > b) + 0.5 * (a == b) for a in probability[:20] for b in probability[20:]]
    assert scores["auroc"] == pytest.approx(np.mean(pairs), abs=1e-4)
    assert scores["recall_at_threshold"] == 75.0  # 0.30 … 1.00
    assert scores["false_per_100_at_threshold"] == 40.0  # 0.30 … 0.45
    strict = np.sort(probability[:20])[1] - 0.0025  # 19 of 20 are above
    assert scores["false_per_100_at_95_recall"] == 100 * (probability[20:] >= strict).mean()


def test_probabilities_that_come_true_have_no_calibration_error(load):
    benchmark = load("presence")
    probability = np.repeat([0.25, 0.75], 40)
    truth = np.tile([True, False, False, False], 20)
    truth[40:] = np.tile([True, True, True, False], 10)
    assert benchmark.calibration_error(truth, probability) == pytest.approx(0)
    assert benchmark.calibration_error(~truth, probability) == pytest.approx(0.5)


def test_coco_pictures_are_a_data_set_of_what_voc_lacks(load, data_root):
    pictures = load("presence").CocoPictures(data_root / "COCO")
    novel = pictures.novel(None)
    assert not {"dog", "person"} & {pictures.classes[number] for number in novel}
    name, areas = next((n, a) for n, a in pictures.areas("val").items() if set(a) & set(novel))
    number = next(iter(set(areas) & set(novel)))
    mask = pictures.class_mask(name, number)
    assert mask.shape == pictures.image(name).shape[:2]
    assert mask.sum() == areas[number]


@pytest.fixture
def novel(load, mini_voc):
    return load("labelling").Novel(PascalVOC(mini_voc), (6, 7), random.Random(0))


def test_pooled_iou_is_of_all_pictures_together(load):
    pooled = load("labelling").Pooled()
    left, right = np.array([[1, 1, 0, 0]], dtype=bool), np.array([[0, 1, 1, 0]], dtype=bool)
    pooled.add(left, right)
    pooled.add(left, left)
    assert pooled.iou == 60.0  # 3 of 5


def test_a_mosaic_shows_the_thing_in_one_cell(load, novel):
    benchmark = load("labelling")
    (image, mask), _ = next(benchmark._mosaics(novel, 6, 1))
    height, width = benchmark.CELL
    assert image.shape[:2] == mask.shape == (4 * height, 4 * width)
    cells = mask.reshape(4, height, 4, width).sum(axis=(1, 3)) > 0
    assert cells.sum() == 1


def test_a_spoilt_example_is_spoilt(load, novel):
    benchmark = load("labelling")
    example = novel.read(novel.pictures(6)[0], 6)
    assert (benchmark._spoil(novel, "inverted", example, 6)[1] == ~example[1]).all()
    assert benchmark._spoil(novel, "none", example, 6) is example
    shifted = benchmark._spoil(novel, "shifted", example, 6)[1]
    assert shifted.sum() == example[1].sum()
    assert (shifted != example[1]).any()
    other = benchmark._spoil(novel, "another class", example, 6)
    assert (other[0] != example[0]).any()


@pytest.mark.parametrize(("measure", "count"), [("negatives", 1), ("odd", 4), ("classes", 1)])
def test_the_measures_run(load, novel, measure, count, model_folder, monkeypatch):
    benchmark = load("labelling")
    monkeypatch.setattr(benchmark, "EXAMPLES", 3)
    monkeypatch.setattr(benchmark, "CLASSES", 4)
    monkeypatch.setattr(benchmark, "RUNS", 1)
    segmenter = FewShotSegmenter.from_pretrained(model_folder, device="cpu")
    found = benchmark.MEASURES[measure](segmenter, novel, count)
    if measure == "odd":
        assert {spoil: row["sets"] for spoil, row in found.items()} == dict.fromkeys(
            benchmark.SPOILS, 1
        )
    elif measure == "classes":
        assert min(found.values()) > 0
    else:
        assert len(found["iou without, with"]) == 2
