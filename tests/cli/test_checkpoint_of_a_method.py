"""`fcp import-checkpoint --method`: a published state dict becomes a folder that evaluates."""

import json

import pytest
import torch
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.method.bam.published import BASE_LEARNER
from fcp.method.bam.published import PUBLISHED as BAM
from fcp.method.pfenet.published import PUBLISHED
from fcp.method.trained import TRAINED, build_trained
from fcp.models.trained import build_learner, load_base_learner, load_trained


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Write a checkpoint as the authors' program of PFENet does, and return it and its model."""
    torch.manual_seed(0)
    model = build_trained("pfenet", backbone="vgg16_bn", bins=[1.0, 0.5, 0.25, 0.125])
    return write(model, PUBLISHED, tmp_path_factory.mktemp("published")), model


def write(model, published, folder):
    """Write a model's weights under the names of the authors' program, and return the file."""
    theirs = {ours: name for name, ours in published.names.items()}

    def their_name(name):
        start = max((ours for ours in theirs if name.startswith(ours)), key=len)
        return f"module.{theirs[start]}{name.removeprefix(start)}"

    state = {their_name(name): tensor for name, tensor in model.state_dict().items()}
    file = folder / "train_epoch_9.pth"
    torch.save({"epoch": 9, "state_dict": state, "optimizer": {"param_groups": []}}, file)
    return file


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_it_is_imported_and_evaluates(published, mini_voc, tmp_path):
    file, model = published
    arguments = ["import-checkpoint", "--method", "pfenet", file, "bins=[1.0,0.5,0.25,0.125]"]
    done = invoke(*arguments, "--image-size", 65, "--out", tmp_path / "m")
    assert done.exit_code == 0, done.output
    loaded = load_trained(tmp_path / "m")
    assert loaded.options == {
        "backbone": "vgg16_bn",
        "released": True,
        "bins": [1.0, 0.5, 0.25, 0.125],
    }
    own = loaded.model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in model.state_dict().items())

    asked = ["--data-root", mini_voc, "--fold", 0, "--episodes", 2, "--device", "cpu"]
    done = invoke("evaluate", *asked, "--model", tmp_path / "m", "--out", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "r.json").read_text())["protocol"]
    assert (card["method"], card["released"], card["precision"]) == ("pfenet", "yes", "float32")
    assert json.loads(card["options"])["bins"] == [1.0, 0.5, 0.25, 0.125]
    assert card["fusion_rule"].startswith("the method's own")
    refused = invoke(
        "evaluate", *asked, "--model", tmp_path / "m", "--fusion", "pooled", "--out", tmp_path / "x"
    )
    assert refused.exit_code == 1
    assert "has its own rule for several examples" in refused.stderr


def test_a_base_learner_is_imported_as_bam_and_hdmnet_start_from_it(tmp_path):
    torch.manual_seed(0)
    model = build_learner("vgg16_bn", None, classes=15, width=512)
    arguments = ["--method", "base-learner", write(model, BASE_LEARNER, tmp_path)]
    done = invoke("import-checkpoint", *arguments, "--out", tmp_path / "base")
    assert done.exit_code == 0, done.output
    loaded = load_base_learner(tmp_path / "base")
    assert loaded.backbone == "vgg16_bn"
    own = loaded.model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in model.state_dict().items())


def test_a_method_of_which_nothing_is_published_is_named(published, tmp_path, monkeypatch):
    monkeypatch.setitem(TRAINED, "proto", TRAINED["pfenet"])
    done = invoke("import-checkpoint", "--method", "proto", published[0], "--out", tmp_path / "m")
    assert done.exit_code == 1
    assert "method 'proto': no published checkpoints of it are known" in done.stderr


def test_what_the_program_never_reads_is_named(published, tmp_path, monkeypatch):
    file, model = published
    monkeypatch.setattr(
        "fcp.method.trained.import_checkpoint",
        lambda *_, **__: type("I", (), {"model": model, "options": {}, "unused": ("a.b", "c")}),
    )
    done = invoke("import-checkpoint", "--method", "pfenet", file, "--out", tmp_path / "m")
    assert "2 tensors that pfenet never reads:\n  a.b\n  c\n" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--method", "pfenet", "--segmenter", "x"],
            "--segmenter: without effect with --method pf",
        ),
        (
            ["--method", "pfenet", "--segmenter-kind", "sam"],
            "--segmenter-kind: without effect with",
        ),
        (["--image-size", "65"], "--image-size: without effect with --method fcp; leave it out"),
        (["bins=[1.0]"], "KEY=VALUE: without effect with --method fcp; leave it out"),
        (
            ["--segmenter", "no_such_sam.pth"],
            "no_such_sam.pth: no such file or folder; check the p",
        ),
        (["--method", "pfnet"], "method: expected one of ssp, pfenet"),
        (["--method", "base-learner", "--image-size", "65"], "--image-size: without effect"),
        (["--method", "base-learner"], "is missing"),
        (["--method", "bam"], "weights of another architecture"),
        (["--method", "pfenet", "bins"], "expected key=value"),
    ],
)
def test_a_wrong_request_is_one_line(published, tmp_path, arguments, message):
    done = invoke("import-checkpoint", published[0], *arguments, "--out", tmp_path / "m")
    assert done.exit_code == 1
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "m").exists()


def test_what_the_file_does_not_tell_is_told_or_asked_for(published, tmp_path):
    file, _ = published
    done = invoke("import-checkpoint", "--method", "pfenet", file, "--out", tmp_path / "m")
    assert "pictures of 473 px, as on PASCAL-5i" in done.output
    assert "those of COCO: 'bins=[1.0,0.5,0.25,0.125]'" in done.output

    of_coco = build_trained("bam", backbone="vgg16_bn", base_classes=60)
    arguments = ["import-checkpoint", "--method", "bam", write(of_coco, BAM, tmp_path)]
    refused = invoke(*arguments, "--out", tmp_path / "bam")
    assert refused.exit_code == 1
    assert "--image-size" in refused.stderr
    assert "641 px for BAM" in refused.stderr
    assert not (tmp_path / "bam").exists()
