"""What holds for every test: the folder of the data sets, no network, the same examples."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
]
# A small ``objects/`` with a set of each sort: scenes, worn things, kinds alone, films; SET/ID →
# the kinds with a mask, each on a row of its own.
PHOTOS = {
    **{f"scenes/meadow{n}": ("cow", "grass") for n in range(4)},
    **{f"scenes/paddock{n}": ("horse", "grass") for n in range(3)},
    **{f"scenes/stable{n}": ("horse", "cow") for n in range(2)},
    **{f"scenes/portrait{n}": ("face",) for n in range(3)},
    **{f"scenes/walker{n}": ("body",) for n in range(2)},
    **{f"scenes/reader{n}": ("body", "book") for n in range(3)},
    **{f"garments/{n}": ("coat", "hair") for n in range(3)},
    **{f"garments/bagged{n}": ("coat", "bag") for n in range(2)},
    **{f"single/{kind}_{n}": (kind,) for kind in ("dolphin", "panda", "emu") for n in range(3)},
    **{f"single/{kind}_{n}": (kind,) for kind in ("flamingo", "barrel", "crab") for n in range(3)},
    **{f"films/{kind}_{n}": (kind,) for kind in ("bear", "surf") for n in range(3)},
}
VOC_OF = {
    **{name: name for name in ("cow", "horse")},
    **dict.fromkeys(("face", "body", "hair"), "person"),
    **dict.fromkeys(("emu", "flamingo"), "bird"),
    **dict.fromkeys(("bear", "surf"), "any"),
}
COCO_OF = {
    "book": "book",
    "bag": "handbag",
    "panda": "bear",
    "bear": "bear",
    "surf": "surfboard",
}
SHOWS_VOC = {"scenes": "labelled", "garments": ["person"], "single": [], "films": "any"}

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
# Read when torch is imported, by the commands that tests start too: the models are small, and the
# number of threads changes the last digits.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, and no stop-watch: the suite also runs on slow, busy machines.
settings.register_profile("fcp", deadline=None, derandomize=True)
settings.load_profile("fcp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a wait in the browser that timed out a second try, which the summary then names.

    Such a wait ends a run of the suite now and then, and never one of the test alone.
    """
    again = pytest.mark.flaky(reruns=1, only_rerun="TimeoutError")
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(again)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder that holds VOC2012/, COCO/ and BSDS500/; without it the test is skipped."""
    given = os.environ.get("FCP_DATA_ROOT")
    if not given:
        pytest.skip("needs FCP_DATA_ROOT, the folder that holds VOC2012/, COCO/ and BSDS500/")
    return Path(given)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a real Chromium; without one, or without Playwright, the test is skipped.

    A module each: while it runs, no other test of the same thread may run an event loop.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium on the PATH")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def mini_voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with a small VOC2012: two classes a fold, five train and four val each.

    One picture of BSDS500 with its regions lies beside it.

    Besides, each split holds what the list rule must sort out: ``…_speck`` shows class 1 on 3,000
    px and class 2 on 4 px, ``…_mixed`` class 6 on 3,000 px and class 1 on a single pixel,
    ``…_small`` class 11 on 2,047 px and ``…_exact`` class 12 on 2,048 px.
    """
    root = tmp_path_factory.mktemp("mini")
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / "VOC2012" / folder).mkdir(parents=True)
    for split, file, copies in (("train", "trainaug.txt", 5), ("val", "val.txt", 4)):
        shown = {
            f"{split}_{class_id:02d}_{copy}": {class_id: 3000}
            for class_id in (1, 2, 6, 7, 11, 12, 16, 17)
            for copy in range(copies)
        }
        shown[f"{split}_speck"] = {1: 3000, 2: 4}
        shown[f"{split}_mixed"] = {6: 3000, 1: 1}
        shown[f"{split}_small"] = {11: 2047}
        shown[f"{split}_exact"] = {12: 2048}
        for picture, areas in shown.items():
            _write_picture(root / "VOC2012", picture, areas)
        names = root / "VOC2012/ImageSets/Segmentation" / file
        names.write_text("".join(f"{picture}\n" for picture in shown))
    for folder in ("images/train", "regions/train"):
        (root / "BSDS500" / folder).mkdir(parents=True)
    drawn = Image.linear_gradient("L").resize((96, 64)).point(lambda v: v // 64)
    drawn.point(lambda v: v * 60).convert("RGB").save(root / "BSDS500/images/train/1.jpg")
    drawn.save(root / "BSDS500/regions/train/1_0.png")
    return root


def _write_picture(voc: Path, picture: str, areas: dict[int, int]) -> None:
    """Write 96×72 px: each class fills so many pixels in its own colour; the last row is 255."""
    labels = np.zeros(72 * 96, np.uint8)
    start = 96 * (sum(picture.encode()) % 8)
    for class_id, area in areas.items():
        labels[start : start + area] = class_id
        start += area
    labels = labels.reshape(72, 96)
    labels[-1] = 255
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    Image.fromarray(colours[labels]).save(voc / "JPEGImages" / f"{picture}.jpg", quality=95)
    mask = Image.fromarray(labels)
    mask.putpalette(colours.reshape(-1).tolist())
    mask.save(voc / "SegmentationClassAug" / f"{picture}.png")


# SAM with one layer in each part; so wide a start that the answers differ with the examples.
TOY_SAM = {
    "vision_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [0],
        "mlp_dim": 32,
        "output_channels": 32,
        "num_pos_feats": 16,
    },
    "prompt_encoder_config": {
        "hidden_size": 32,
        "image_size": 64,
        "patch_size": 8,
        "mask_input_channels": 8,
    },
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    },
    "initializer_range": 0.25,
}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a saved model with random weights: FCP on a narrow MobileNetV2 and a toy SAM."""
    import torch

    from fcp.config import BackboneConfig, HeadConfig, ModelConfig, SegmenterConfig
    from fcp.encoders import build_backbone, build_segmenter
    from fcp.method.fcp.model import FCP
    from fcp.models.checkpoint import save_model

    torch.manual_seed(1)
    narrow = {"config": {"depth_multiplier": 0.35}}
    config = ModelConfig(
        head=HeadConfig(width=32, tokens=4, mask_prompt=True, contrast_levels=[16, 32, 56, 112]),
        backbone=BackboneConfig(name="mobilenet_v2", options=narrow),
        segmenter=SegmenterConfig(name="sam", options={"config": TOY_SAM}),
        image_size=64,
    )
    folder = tmp_path_factory.mktemp("model")
    model = FCP(config, build_backbone(config.backbone), build_segmenter(config.segmenter))
    save_model(model, folder)
    return folder


# Options of the compared methods at toy size.
TOY_METHODS: dict[str, dict[str, object]] = {
    "ssp": {"trained": ["blocks.15."]},
    "pfenet": {"width": 8, "bins": [1.0, 0.5]},
    "bam": {"width": 8},
    "hdmnet": {"width": 8},
    "cyctr": {"width": 16, "keys_per_shot": 8},
}


def toy_methods(backbone: dict[str, Any], common: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return small recipes of the compared methods and of the base learner of two of them."""
    common = {**common, "image_size": 64}
    learner = {"stage": "base_learner", "width": 8, "train_backbone": False, "views": "whole"}
    recipes = {"tiny-base-learner": {**learner, **backbone, **common}}
    for method, options in TOY_METHODS.items():
        own = {"stage": "method", "method": method, "draw": "class"}
        recipes[f"tiny-{method}"] = {**own, "options": {**backbone, **options}, **common}
    for method in ("bam", "hdmnet"):
        recipes[f"tiny-{method}"]["base_learner_recipe"] = "tiny-base-learner"
    recipes["tiny-pfenet"] |= {"holdout_every": 1, "holdout_episodes": 2}
    return recipes


def toy_free(head: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return small recipes of the methods without training on the encoders of a head's recipe."""
    encoders = {name: head["model"][name] for name in ("image_size", "backbone", "segmenter")}
    common = {name: head[name] for name in ("backbone_weights", "segmenter_folder")}
    recipes = {}
    given = {"matcher": {"preset": "fss"}, "contrast": {}}
    for method in ("insid3", "gf-sam", "persam", "matcher", "contrast"):
        options = given.get(method, {"released": False})
        own = {"stage": "free", "method": method, "options": options, "encoders": encoders}
        recipes[f"tiny-{method}"] = {**own, **common}
    return recipes


@pytest.fixture(scope="session")
def toy_recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return small recipes and promptable stages, as `fcp reproduce --scale tiny` has them."""
    import torch
    import yaml
    from safetensors.torch import save_file
    from transformers import MobileNetV2Config, MobileNetV2Model

    from fcp.encoders.tiny import TinySegmenter

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("recipes")
    MobileNetV2Model(MobileNetV2Config()).save_pretrained(folder / "mobilenet")
    segmenter = {"width": 16, "image_size": 64, "decoder_width": 16}
    optim = {"iterations": 2, "batch": 2, "learning_rate": 1e-3, "warmup": 1, "log_every": 1}
    weights = {"backbone_weights": str(folder / "mobilenet")}
    head = {
        "stage": "head",
        **weights,
        "segmenter_folder": "named by the fold",
        "model": {
            "image_size": 64,
            "head": {"width": 16, "tokens": 3},
            "backbone": {"name": "mobilenet_v2", "options": {"standardise": False}},
            "segmenter": {"name": "tiny", "options": segmenter},
        },
        "optim": optim,
    }
    promptable = {"stage": "segmenter", **weights, "options": segmenter, "masks": 2, "optim": optim}
    backbone = head["model"]["backbone"]
    recipes = {"tiny-frozen": head, "tiny-frozen-segmenter": promptable}
    recipes |= toy_free(head)
    recipes |= toy_methods({"backbone": backbone}, {"optim": optim, **weights})
    for name, values in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    stage = {name: t.contiguous() for name, t in TinySegmenter(**segmenter).state_dict().items()}
    for excluded in ([0, 2], [1, 3]):
        own = folder / "tiny-promptable-{}{}".format(*excluded)
        own.mkdir()
        save_file(stage, own / "segmenter.safetensors")
        (own / "recipe.json").write_text(json.dumps({**promptable, "exclude_folds": excluded}))
    return folder


@pytest.fixture(scope="session")
def mini_objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with ``objects/``; see ``PHOTOS``."""
    root = tmp_path_factory.mktemp("objects-root")
    masks: dict[tuple[str, str], int] = {}
    for number, (photo, kinds) in enumerate(PHOTOS.items()):
        name, _, stem = photo.partition("/")
        folder = root / "objects" / name
        (folder / "images").mkdir(parents=True, exist_ok=True)
        pixels = np.full((16, 20, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{stem}.jpg")
        for row, kind in enumerate(kinds):
            mask = np.zeros((16, 20), bool)
            mask[row, : row + 5] = True
            (folder / "masks" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / "masks" / kind / f"{stem}.png")
            masks[name, kind] = masks.get((name, kind), 0) + 1
    manifest = [
        {
            "set": name,
            "kind": kind,
            "masks": count,
            "voc": VOC_OF.get(kind),
            "coco": COCO_OF.get(kind),
            "shows_voc": SHOWS_VOC[name],
        }
        for (name, kind), count in masks.items()
    ]
    (root / "objects/manifest.json").write_text(json.dumps(manifest))
    return root


@pytest.fixture(scope="session")
def mini_root(mini_voc: Path, mini_objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with both of them."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "VOC2012").symlink_to(mini_voc / "VOC2012")
    (folder / "objects").symlink_to(mini_objects / "objects")
    return folder


@pytest.fixture
def small_backbone(monkeypatch: pytest.MonkeyPatch) -> str:
    """Register a backbone of two convolutions, and return its name."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    from fcp.encoders import BACKBONES
    from fcp.encoders.base import Backbone
    from fcp.structures import BackboneFeatures

    class Small(Backbone):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.mid_channels, self.high_channels = width, 2 * width
            self.first = nn.Conv2d(3, width, 9, stride=8, padding=4)
            self.norm = nn.BatchNorm2d(width)
            self.last = nn.Conv2d(width, 2 * width, 1)

        def forward(self, images: Tensor, mask: Tensor | None = None) -> BackboneFeatures:
            mid = self.norm(self.first(images)).relu()
            seen = mid if mask is None else mid * functional.interpolate(mask, mid.shape[-2:])
            return BackboneFeatures(mid=mid, high=self.last(seen))

    def build(weights: str | None, *, width: int = 8) -> Backbone:
        torch.manual_seed(7)  # so that all builds have equal weights
        return Small(width)

    monkeypatch.setitem(BACKBONES, "small", build)
    return "small"


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ViT with random weights in the hub's layout, of 16×16 cells at 1024 px."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vit")
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(image_size=128, patch_size=64, **size)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pfenet() -> Any:
    """Return the network of a PFENet with random weights on a small backbone."""
    import torch

    from fcp.encoders.base import Backbone
    from fcp.inference.networks.trained import TrainedNetwork
    from fcp.method.pfenet.model import PFENet
    from fcp.structures import BackboneFeatures

    class Stripes(Backbone):
        mid_channels, high_channels = 10, 6

        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 10, 8, stride=8)
            self.last = torch.nn.Conv2d(10, 6, 1)

        def forward(self, images: Any, mask: Any = None) -> BackboneFeatures:
            mid = self.first(images).relu()
            size = mid.shape[-2:]
            shown = mid if mask is None else mid * torch.nn.functional.interpolate(mask, size)
            return BackboneFeatures(mid=mid, high=self.last(shown))

    torch.manual_seed(0)
    model = PFENet(Stripes(), bins=(8, 4), width=8)
    return TrainedNetwork(model, method="pfenet", options={"bins": [8, 4]}, image_size=64)
