"""SSP against its equations in float64, from published names; and what must hold."""

import pytest
import torch
import torch.nn.functional as F

from fcp.method.base import TrainingTruth
from fcp.method.ssp.prototypes import self_support, similarity, sure_cells
from fcp.method.trained import import_checkpoint

SIDE, GRID = 73, 10


@pytest.fixture(scope="module")
def weights(resnet_state):
    """The stem's names are SSP's own; there is no stage 4."""
    state = {}
    for name, tensor in resnet_state.items():
        stage, place, rest = name.split(".", 2)
        if stage == "layer0":
            name = f"layer0.1.{rest}" if place == "7" else f"layer0.0.{place}.{rest}"
        if stage != "layer4":
            state[name] = tensor
    return state


@pytest.fixture(scope="module")
def imported(weights, write_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("ssp") / "best.pth"
    torch.save(weights, path)  # a bare state dict
    return import_checkpoint("ssp", path)


def bottleneck(x, w, name, options, *, relu=True):
    """One block in float64; ``options`` are (stride, dilation)."""
    stride, dilation = options

    def norm(y, part):
        fields = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(y, *(w[f"{name}.{part}.{f}"].double() for f in fields))

    y = norm(F.conv2d(x, w[f"{name}.conv1.weight"].double()), "bn1").relu()
    kernel = w[f"{name}.conv2.weight"].double()
    y = norm(F.conv2d(y, kernel, stride=stride, padding=dilation, dilation=dilation), "bn2").relu()
    y = norm(F.conv2d(y, w[f"{name}.conv3.weight"].double()), "bn3")
    if f"{name}.downsample.0.weight" in w:
        x = norm(
            F.conv2d(x, w[f"{name}.downsample.0.weight"].double(), stride=stride), "downsample.1"
        )
    return (y + x).relu() if relu else y + x


def stage_three(images, w):
    """Stages 0 to 3 in float64; the first block of stage 3 is not dilated, the last has no ReLU."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((images - mean.view(3, 1, 1)) / std.view(3, 1, 1)).double()
    for conv, norm, stride in (("0.0", "0.1", 2), ("0.3", "0.4", 1), ("0.6", "1", 1)):
        x = F.conv2d(x, w[f"layer0.{conv}.weight"].double(), stride=stride, padding=1)
        fields = ("running_mean", "running_var", "weight", "bias")
        x = F.batch_norm(x, *(w[f"layer0.{norm}.{f}"].double() for f in fields)).relu()
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage, blocks in ((1, 3), (2, 4), (3, 6)):
        for block in range(blocks):
            stride = 2 if (stage, block) == (2, 0) else 1
            dilation = 2 if stage == 3 and block else 1
            last = (stage, block) == (3, 5)
            x = bottleneck(x, w, f"layer{stage}.{block}", (stride, dilation), relu=not last)
    return x


def own_mean(x, mask, value, naive):
    """Mean of (C, h, w) under the pixels of a value."""
    m = naive.up((mask == value).double()[None, None], x.shape[-2:])[0, 0]
    return (x * m).sum((1, 2)) / (m.sum() + 1e-5)


def compare(x, foreground, background):
    """10·cosine of each cell of (C, L) with the two prototypes, (C,) or (C, L)."""
    out = torch.zeros(2, x.shape[1], dtype=torch.float64)
    for i in range(x.shape[1]):
        for channel, prototype in enumerate((background, foreground)):
            p = prototype[:, i] if prototype.ndim == 2 else prototype
            out[channel, i] = 10 * (x[:, i] @ p) / (x[:, i].norm() * p.norm())
    return out


def own_prototypes(x, out):
    """F-part and B-part that the query gives itself, with the contract's numbers."""
    p = out.softmax(0)
    chosen = []
    for channel, threshold in ((1, 0.7), (0, 0.6)):
        cells = [i for i in range(x.shape[1]) if p[channel, i] > threshold]
        chosen.append(cells or sorted(range(x.shape[1]), key=lambda i: -p[channel, i])[:12])
    object_cells, rest_cells = chosen
    adaptive = torch.zeros_like(x)
    for i in range(x.shape[1]):
        scores = torch.stack([F.cosine_similarity(x[:, i], x[:, j], dim=0) for j in rest_cells])
        for weight, j in zip((2 * scores).softmax(0), rest_cells, strict=True):
            adaptive[:, i] += weight * x[:, j]
    rest = x[:, rest_cells].mean(1)
    return x[:, object_cells].mean(1), 0.3 * rest[:, None] + 0.7 * adaptive


def reference(query, supports, masks, naive):
    """Out1 and Out2 (1, 2, h, w), before the resize."""
    x = query.flatten(1)
    fp = sum(own_mean(s, m, 1, naive) for s, m in zip(supports, masks, strict=True)) / len(masks)
    bp = sum(own_mean(s, m, 0, naive) for s, m in zip(supports, masks, strict=True)) / len(masks)
    f, b1 = own_prototypes(x, compare(x, fp, bp))
    f1 = 0.5 * fp + 0.5 * f
    out1 = compare(x, f1, b1)
    f, b = own_prototypes(x, out1)
    f2 = 0.5 * fp + 0.2 * f1 + 0.3 * (0.5 * fp + 0.5 * f)
    b2 = 0.5 * bp[:, None] + 0.2 * b1 + 0.3 * b
    out2 = 0.7 * compare(x, f2, b2) + 0.3 * out1
    return [out.view(1, 2, GRID, GRID) for out in (out1, out2)]


@pytest.mark.parametrize("shots", [1, 5])
@torch.no_grad()
def test_published_weights_give_the_equations(imported, weights, naive, episode, shots):
    model, task = imported.model, episode(SIDE, shots)
    support = model.encode_support(task.support_images, task.support_masks)
    query = model.encode_query(task.query_images)
    output = model.match(support, query)

    x = stage_three(task.query_images, weights)
    assert x.min() < -0.1  # no last ReLU
    torch.testing.assert_close(query.features.double(), x, rtol=1e-4, atol=1e-4)
    supports = stage_three(task.support_images[0], weights)
    out1, out2 = reference(x[0], supports, task.support_masks[0], naive)
    torch.testing.assert_close(
        output.logits.double(), naive.up(out2, (SIDE, SIDE)), rtol=0, atol=2e-4
    )
    model.refine = False
    plain = model.match(support, query)
    model.refine = True
    torch.testing.assert_close(
        plain.logits.double(), naive.up(out1, (SIDE, SIDE)), rtol=0, atol=2e-4
    )

    losses = model.losses(support, query, TrainingTruth(task.query_masks, task.support_masks))
    labels, size = task.query_masks.long(), (SIDE, SIDE)
    own = [
        compare(s.flatten(1), own_mean(s, m, 1, naive), own_mean(s, m, 0, naive)).view(
            2, GRID, GRID
        )
        for s, m in zip([x[0], *supports], [labels[0], *task.support_masks[0]], strict=True)
    ]
    expected = {
        "round1": naive.cross_entropy(naive.up(out1, size), labels),
        "round2": naive.cross_entropy(naive.up(out2, size), labels),
        "self_query": naive.cross_entropy(naive.up(own[0][None], size), labels),
        "self_support": naive.cross_entropy(
            naive.up(torch.stack(own[1:]), size), task.support_masks[0].long()
        ),
    }
    expected["total"] = sum(expected.values()) - 0.8 * expected["self_support"]
    assert {n: float(t) for n, t in losses.items()} == pytest.approx(expected, abs=1e-4)


def test_published_training_is_of_stages_2_and_3(imported):
    model = imported.model.train()
    learning = {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {"layer2", "layer3"}
    assert not any(m.training for m in model.backbone.modules())


def test_empty_set_becomes_the_likeliest_cells():
    probability = torch.linspace(0, 0.5, 30)
    assert sorted(sure_cells(probability, 0.7).tolist()) == list(range(18, 30))
    assert sure_cells(probability, 0.49).tolist() == [29]


def test_a_clear_query_finds_itself():
    """Two kinds of cells, a support that is a little off: the query's own prototypes are exact."""
    query = torch.zeros(1, 2, 4, 4)
    query[:, 0, :2], query[:, 1, 2:] = 1.0, 1.0
    off = torch.tensor([1.0, 0.4]).view(1, 2, 1, 1)
    estimate = similarity(query, off, off.flip(1))
    object_, rest, adaptive = self_support(query, estimate)
    assert object_.flatten().tolist() == [1, 0]
    assert rest.flatten().tolist() == [0, 1]
    assert torch.equal(adaptive, torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4))
