"""What a card says of a model of each format, and what opens it."""

import json

import pytest
import torch

from fcp.errors import FcpError
from fcp.evaluation.method_predictor import MethodPredictor
from fcp.evaluation.predictor import FCPPredictor
from fcp.evaluation.tested import describe_model, libraries, open_predictor, precision_of
from fcp.method.trained import build_trained
from fcp.models.trained import save_trained


@pytest.fixture
def trained(small_backbone, tmp_path):
    torch.manual_seed(0)
    options = {"backbone": small_backbone, "width": 8, "bins": [1.0], "released": True}
    save_trained(build_trained("pfenet", **options), "pfenet", options, 64, tmp_path / "m")
    return tmp_path / "m"


def test_a_trained_method_is_described_with_its_options(trained):
    found = describe_model(trained)
    assert (found.method, found.released, found.shots) == ("pfenet", "yes", "the method's own")
    assert json.loads(found.options) == {"backbone": "small", "width": 8, "bins": [1.0]}
    with pytest.raises(FcpError, match="has its own rule for several examples"):
        describe_model(trained, "pooled")


def test_fcp_is_described_by_its_rule(model_folder):
    found = describe_model(model_folder)
    assert (found.method, found.options, found.released) == ("fcp", "{}", "does not apply")
    assert found.shots != describe_model(model_folder, "pooled").shots


def test_a_method_without_training_is_described_by_its_whole_name(tmp_path):
    found = describe_model("free:persam")
    assert (found.method, found.released) == ("free:persam+sam-vit-huge", "yes")
    settings = {"format": "fcp-free-1", "name": "free:persam", "options": {"released": False}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert describe_model(tmp_path).released == "no"
    assert describe_model(tmp_path).method == "free:persam+sam-vit-huge"


def test_a_folder_opens_as_what_it_holds(trained, model_folder):
    assert isinstance(open_predictor(model_folder), FCPPredictor)
    predictor = open_predictor(trained)
    assert isinstance(predictor, MethodPredictor)
    assert predictor.image_size == 64


@pytest.mark.parametrize(
    ("method", "expected"),
    [("ssp", "does not apply"), ("bam", "does not apply"), ("hdmnet", "no"), ("pfenet", "no")],
)
def test_the_switch_is_the_builders_own_where_no_option_sets_it(tmp_path, method, expected):
    settings = {"format": "fcp-trained-1", "method": method, "options": {}, "image_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert describe_model(tmp_path).released == expected


def test_matcher_has_no_switch_and_an_unknown_method_is_refused(tmp_path):
    assert describe_model("free:matcher").released == "does not apply"
    settings = {"format": "fcp-trained-1", "method": "fcn", "options": {}, "image_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(FcpError, match="method: expected one of ssp"):
        describe_model(tmp_path)


def test_a_damaged_free_folder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"format": "fcp-free-1", "name": 3}')
    with pytest.raises(FcpError, match="name: expected str, got 3"):
        describe_model(tmp_path)


def test_versions_are_those_that_run():
    assert f"torch {torch.__version__.split('+')[0]}" in libraries()


def test_methods_without_training_read_no_store(model_folder):
    assert precision_of("free:persam", stored=True) == "float32"
    assert precision_of(model_folder, stored=True).endswith("stored as float16")
