"""What must hold for every compared method, at toy size."""

from types import SimpleNamespace

import pytest
import torch

from fcp.errors import FcpError
from fcp.inference.packing import TYPES
from fcp.method.bam.base_learner import BaseLearner
from fcp.method.bam.model import BAM
from fcp.method.base import TrainingTruth
from fcp.method.cyctr.model import CyCTR
from fcp.method.hdmnet.model import HDMNet
from fcp.method.pfenet.model import PFENet
from fcp.method.ssp.model import SSP
from fcp.method.trained import TRAINED, build_trained
from fcp.structures import Episode


def learner():
    return BaseLearner(6, 3, width=4)


TOYS = {
    "pfenet": lambda backbone: PFENet(backbone, bins=(1.0, 0.5), width=8),
    "ssp": lambda backbone: SSP(backbone, trained=("first.",)),
    "bam": lambda backbone: BAM(backbone, learner(), width=8, shots=2),
    "hdmnet": lambda backbone: HDMNet(
        backbone, learner(), width=8, token_width=16, inner=8, shots=2
    ),
    "cyctr": lambda backbone: CyCTR(backbone, width=16),
}


def test_every_method_has_its_toys_and_a_support_that_can_be_saved(toy_recipes):
    assert set(TOYS) == set(TRAINED)
    assert all((toy_recipes / f"tiny-{name}.yaml").is_file() for name in TRAINED)
    packed = {path.split(":")[0] for path in TYPES.values()}
    assert {f"fcp.method.{name}.model" for name in TRAINED} <= packed


@pytest.fixture(params=TOYS)
def toy(request, toy_backbone):
    torch.manual_seed(0)
    return TOYS[request.param](toy_backbone).eval()


def run(model, task):
    support = model.encode_support(task.support_images, task.support_masks)
    return model.match(support, model.encode_query(task.query_images)).logits


def losses(model, task):
    support = model.encode_support(task.support_images, task.support_masks)
    labels = torch.where(task.query_masks == 1, 2, task.query_masks.long())
    classes = torch.full((len(labels),), 2)
    truth = TrainingTruth(task.query_masks, task.support_masks, base_labels=labels, classes=classes)
    return model.losses(support, model.encode_query(task.query_images), truth)


@torch.no_grad()
def test_answer_has_the_size_of_the_picture(toy, episode):
    task = episode(72, 2, batch=2)
    output = toy(Episode(task.support_images, task.support_masks, task.query_images))
    assert output.mask_logits.shape == (2, 72, 72)
    assert torch.equal(output.logits, run(toy, task))
    assert output.mask_logits.std() > 0


@torch.no_grad()
def test_order_of_the_shots_does_not_matter(toy, episode):
    task = episode(72, 3, batch=2)
    before = run(toy, task)
    task.support_images = task.support_images.flip(1)
    task.support_masks = task.support_masks.flip(1)
    torch.testing.assert_close(run(toy, task), before, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_batch_equals_one_by_one_and_one_support_serves_all(toy, episode):
    task = episode(72, 2, batch=2)
    whole = run(toy, task)
    for b in range(2):
        one = SimpleNamespace(**{name: value[b : b + 1] for name, value in vars(task).items()})
        torch.testing.assert_close(run(toy, one), whole[b : b + 1], rtol=1e-4, atol=1e-5)
    support = toy.encode_support(task.support_images[:1], task.support_masks[:1])
    both = toy.match(support, toy.encode_query(task.query_images)).logits
    torch.testing.assert_close(both[0], whole[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_mask_decides(toy, episode):
    task = episode(72, 1)
    before = run(toy, task)
    task.support_masks = 1 - task.support_masks.clamp(max=1)
    assert (run(toy, task) - before).abs().max() > 1e-5


def test_only_the_method_learns(toy, episode):
    model = toy.train()
    assert not any(m.training for m in model.backbone.modules())
    losses(model, episode(72, 2, batch=2))["total"].backward()
    learnt = {n for n, p in model.named_parameters() if p.grad is not None}
    assert learnt == {n for n, p in model.named_parameters() if p.requires_grad}
    backbone = {n for n in learnt if n.startswith("backbone.")}
    assert all(n.startswith("backbone.first.") for n in backbone)  # of SSP alone
    assert bool(backbone) == isinstance(model, SSP)


def test_a_few_steps_lower_the_loss(toy, episode):
    task, model = episode(72, 1, batch=2), toy.train()
    torch.manual_seed(0)  # of dropout
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    history = []
    for _ in range(25):
        terms = losses(model, task)
        loss = terms["total"] - terms.get("base", 0)  # the frozen learner's is a constant
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert sum(history[-3:]) / 3 < 0.9 * history[0]


def test_empty_mask_is_named(toy, episode):
    task = episode(72, 2)
    task.support_masks[0, 1] = 255
    with pytest.raises(FcpError, match=r"support_masks\[0, 1\]: the mask is empty"):
        run(toy, task)


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("pfenet", "width"),
        ("bam", "shots"),
        ("bam", "base_classes"),
        ("hdmnet", "learner_width"),
        ("cyctr", "keys_per_shot"),
    ],
)
def test_a_count_below_one_is_refused_by_name(method, option):
    with pytest.raises(FcpError, match=f"method '{method}': {option}: expected at least 1, got 0"):
        build_trained(method, **{option: 0})
