"""Where BAM and HDMNet find the base learner of their data."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from fcp.engine.dry_run import dry_run
from fcp.engine.recipe import load_recipe
from fcp.engine.train_base_learner import LEARNERS, find_base_learner
from fcp.errors import FcpError
from fcp.models.files import CONFIG_FILE

OPTIM = {"iterations": 1, "batch": 2, "learning_rate": 1e-2, "warmup": 0, "log_every": 1}


@pytest.fixture
def recipe(small_backbone, tmp_path):
    """Return the file of a recipe of BAM on a folder of classes."""
    learner = {"stage": "base_learner", "image_size": 64, "width": 4, "optim": OPTIM}
    (tmp_path / "learner.yaml").write_text(yaml.safe_dump({**learner, "backbone": small_backbone}))
    values = {"stage": "method", "method": "bam", "benchmark": "folder", "image_size": 64}
    values |= {"options": {"backbone": small_backbone, "width": 8}, "optim": OPTIM}
    values["base_learner_recipe"] = str(tmp_path / "learner.yaml")
    (tmp_path / "bam.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "bam.yaml"


def classes_of(root, *names, pictures=2):
    """Write a folder of classes and return it."""
    for name in names:
        for kind in ("images", "masks"):
            (root / name / kind).mkdir(parents=True)
            for i in range(pictures):
                pixels = np.zeros((48, 48, 3) if kind == "images" else (48, 48), np.uint8)
                pixels[8:32, 8:32] = 255
                Image.fromarray(pixels).save(root / name / kind / f"{i}.png")
    return root


def find(recipe, data_root, out, **given):
    overrides = tuple(f"{name}={value}" for name, value in given.items())
    loaded = load_recipe(recipe, overrides)
    return find_base_learner(loaded, data_root, out, report=lambda _: None)


def test_a_base_learner_belongs_to_its_data(recipe, tmp_path):
    cats = classes_of(tmp_path / "cats", "cat", "lynx")
    assert list(find(recipe, cats, tmp_path / "run").class_names) == ["cat", "lynx"]
    find(recipe, cats, tmp_path / "again")
    assert len(list((tmp_path / LEARNERS).iterdir())) == 1
    dogs = classes_of(tmp_path / "dogs", "dog", "wolf")
    assert list(find(recipe, dogs, tmp_path / "run").class_names) == ["dog", "wolf"]
    more = classes_of(tmp_path / "more", "cat", "lynx", pictures=3)
    find(recipe, more, tmp_path / "run")
    assert len(list((tmp_path / LEARNERS).iterdir())) == 3


def test_a_named_base_learner_of_other_classes_is_refused(recipe, tmp_path):
    learner = tmp_path / "learner"
    cats = classes_of(tmp_path / "cats", "cat", "lynx")
    find(recipe, cats, tmp_path / "run", base_learner=learner)
    dogs = classes_of(tmp_path / "dogs", "cat", "wolf")
    message = r"learner: .*than those of --data-root \(wolf was lynx\); name another"
    with pytest.raises(FcpError, match=message):
        find(recipe, dogs, tmp_path / "run", base_learner=learner)
    rest = {"data_root": dogs, "report": lambda _: None}
    with pytest.raises(FcpError, match=message):
        dry_run(recipe, overrides=(f"base_learner={learner}",), **rest)
    settings = json.loads((learner / CONFIG_FILE).read_text())
    del settings["class_names"]  # as earlier versions wrote it
    (learner / CONFIG_FILE).write_text(json.dumps(settings))
    assert find(recipe, dogs, tmp_path / "run", base_learner=learner).class_names == []
