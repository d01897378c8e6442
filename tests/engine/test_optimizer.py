"""Groups of parameters, and two rules in one optimiser against torch's two optimisers."""

import copy

import pytest
import torch
from torch import nn

from fcp.engine.optim import GroupConfig, OptimConfig
from fcp.engine.optimizer import make_optimizer, parameter_groups
from fcp.errors import FcpError

MIXED = OptimConfig(
    batch=1,
    iterations=9,
    learning_rate=0.1,
    name="sgd",
    weight_decay=0.01,
    groups=[GroupConfig(["1."], 0.02, weight_decay=0.1)],
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def advance(model, *optimizers, steps=3):
    torch.manual_seed(1)
    for _ in range(steps):
        model(torch.randn(5, 3)).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def prepared(model, optim=MIXED):
    optimizer = make_optimizer(model, ([*model.parameters()], []), optim)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    return optimizer


def test_two_rules_are_torchs_two_optimisers(model):
    twin = copy.deepcopy(model)
    advance(model, prepared(model))
    first, second = twin
    sgd = torch.optim.SGD(
        [
            {"params": [first.weight], "weight_decay": 0.01},
            {"params": [first.bias], "weight_decay": 0},
        ],
        lr=0.1,
        momentum=0.9,
    )
    adamw = torch.optim.AdamW(
        [
            {"params": [second.weight], "weight_decay": 0.1},
            {"params": [second.bias], "weight_decay": 0},
        ],
        lr=0.02,
    )
    advance(twin, sgd, adamw)
    for own, expected in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(own, expected)


def test_a_stored_state_goes_on_as_if_nothing_had_happened(model):
    twin, optimizer = copy.deepcopy(model), prepared(model)
    advance(model, optimizer, steps=2)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    advance(model, optimizer, steps=2)
    other = prepared(twin)
    twin.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    advance(twin, other, steps=2)
    for own, expected in zip(twin.parameters(), model.parameters(), strict=True):
        assert torch.equal(own, expected)


def test_the_default_is_adamw_of_fresh_and_pretrained(model):
    optim = OptimConfig(batch=1, iterations=1, learning_rate=0.1, weight_decay=0.2)
    first, second = model
    split = ([*first.parameters()], [*second.parameters()])
    assert type(make_optimizer(model, split, optim)) is torch.optim.AdamW
    groups = parameter_groups(model, split, optim)
    assert [g["peak"] for g in groups] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    assert [g["weight_decay"] for g in groups] == [0.2, 0, 0.2, 0]


def test_a_group_without_parameters_is_refused(model):
    optim = OptimConfig(
        batch=1, iterations=1, learning_rate=0.1, groups=[GroupConfig(["head."], 1e-3)]
    )
    with pytest.raises(FcpError, match=r"optim\.groups\[0\]\.parameters: .* head\."):
        make_optimizer(model, ([*model.parameters()], []), optim)


def test_nothing_to_train_is_refused(model):
    optim = OptimConfig(batch=1, iterations=1, learning_rate=0.1)
    with pytest.raises(FcpError, match="trains no parameter"):
        make_optimizer(model, ([], []), optim)
