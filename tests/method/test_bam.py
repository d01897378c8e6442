"""BAM against its equations in float64, from published names; and what must hold."""

import pytest
import torch
import torch.nn.functional as F

from fcp.encoders.resnet import DilatedResNet
from fcp.errors import FcpError
from fcp.method.bam.base_learner import BaseLearner, PSPNet
from fcp.method.bam.ensemble import Ensemble, ShotWeights, base_probability, gram, style_distance
from fcp.method.bam.model import BAM
from fcp.method.bam.published import PUBLISHED, import_base_learner
from fcp.method.base import TrainingTruth
from fcp.method.trained import import_checkpoint

SIDE, GRID, OWN = 41, 6, 3


@pytest.fixture(scope="module")
def learner_shapes(norm_shapes):
    """Entries of the learner below the beginnings of its pools and of its classifier."""

    def entries(pools, classifier):
        shapes = {
            f"{classifier}.0.weight": (512, 4096, 3, 3),
            **norm_shapes(f"{classifier}.1", 512),
            f"{classifier}.4.weight": (16, 512, 1, 1),
            f"{classifier}.4.bias": (16,),
        }
        for i in range(4):
            shapes[f"{pools}.features.{i}.1.weight"] = (512, 2048, 1, 1)
            shapes |= norm_shapes(f"{pools}.features.{i}.2", 512)
        return shapes

    return entries


@pytest.fixture(scope="module")
def weights(random_weights, resnet_state, learner_shapes):
    shapes = learner_shapes("learner_base.0", "learner_base.1")
    shapes |= {
        "down_query.0.weight": (256, 1536, 1, 1),
        "down_supp.0.weight": (256, 1536, 1, 1),
        "init_merge.0.weight": (256, 513, 1, 1),
        "res1_meta.0.weight": (256, 1280, 1, 1),
        "res2_meta.0.weight": (256, 256, 3, 3),
        "res2_meta.2.weight": (256, 256, 3, 3),
        "cls_meta.0.weight": (256, 256, 3, 3),
        "cls_meta.3.weight": (2, 256, 1, 1),
        "cls_meta.3.bias": (2,),
        "gram_merge.weight": (1, 2, 1, 1),
        "cls_merge.weight": (1, 2, 1, 1),
        "kshot_rw.0.weight": (2, 5, 1, 1),
        "kshot_rw.0.bias": (2,),
        "kshot_rw.2.weight": (5, 2, 1, 1),
        "kshot_rw.2.bias": (5,),
    }
    for i in range(5):
        side = 1 if i < 2 else 3
        shapes[f"ASPP_meta.layer6_{i}.0.weight"] = (256, 256, side, side)
        shapes[f"ASPP_meta.layer6_{i}.0.bias"] = (256,)
    state = random_weights(shapes) | resnet_state
    state["kshot_rw.0.weight"] = state["kshot_rw.0.weight"].abs() * 20  # ψ is small
    return state


@pytest.fixture(scope="module")
def imported(weights, write_checkpoint, tmp_path_factory):
    """Trained for 5 shots, which changes nothing for 1."""
    path = write_checkpoint(tmp_path_factory.mktemp("bam") / "best.pth", weights)
    return import_checkpoint("bam", path)


def shot_weights(distances, w):
    """Sort, two layers, undo the sort, softmax."""
    if len(distances) == 1:
        return torch.ones(1, dtype=torch.float64)
    order = sorted(range(5), key=lambda k: float(distances[k]))
    first, second = (w[f"kshot_rw.{i}.weight"].double()[:, :, 0, 0] for i in (0, 2))
    x = (first @ distances[order] + w["kshot_rw.0.bias"].double()).relu()
    ranked = second @ x + w["kshot_rw.2.bias"].double()
    scores = torch.zeros(5, dtype=torch.float64)
    for rank, shot in enumerate(order):
        scores[shot] = ranked[rank]
    return scores.softmax(0)


def reference(w, seen, naive):
    """Final (training and test), meta and base logits at the picture's size: table1.md §3."""
    query, supports, masks = seen
    x = naive.conv(query.mid, w, "down_query.0").relu()
    g = naive.gram(query.mid[0, 1024:])
    distances = torch.stack(
        [(g - naive.gram(s.mid[0, 1024:])).square().sum().sqrt() / 512 for s in supports]
    )
    share = shot_weights(distances, w)
    v = p = 0
    for weight, features, mask in zip(share, supports, masks, strict=True):
        m = naive.up((mask == 1).double()[None, None], (GRID, GRID))[0, 0]
        y = naive.conv(features.mid, w, "down_supp.0").relu()[0]
        v = v + weight * naive.mean_under(y, m)
        p = p + weight * naive.prior(query.high[0], features.high[0].double() * m)
    psi = (share * distances).sum()
    parts = [x, v.view(1, -1, 1, 1).expand(1, -1, GRID, GRID), p[None, None]]
    m = naive.conv(torch.cat(parts, 1), w, "init_merge.0").relu()
    mean = m.mean((2, 3), keepdim=True)
    branches = [naive.conv(mean, w, "ASPP_meta.layer6_0.0").relu().expand_as(m)]
    branches.append(naive.conv(m, w, "ASPP_meta.layer6_1.0").relu())
    for i, d in ((2, 6), (3, 12), (4, 18)):
        branches.append(naive.conv(m, w, f"ASPP_meta.layer6_{i}.0", d, dilation=d).relu())
    f = naive.conv(torch.cat(branches, 1), w, "res1_meta.0").relu()
    meta = naive.head(naive.residual(f, w, "res2_meta.0", "res2_meta.2"), w, "cls_meta")
    stage5 = naive.learner(
        query.high, w, "learner_base.0", ("learner_base.1.0", "learner_base.1.1")
    )
    base = naive.conv(stage5.relu(), w, "learner_base.1.4")
    finals = [naive.ensemble(w, meta, base, psi, left_out) for left_out in (None, OWN)]
    return [naive.up(t, (SIDE, SIDE)) for t in (*finals, meta, base)]


@pytest.mark.parametrize("shots", [1, 5])
@torch.no_grad()
def test_published_weights_give_the_equations(imported, weights, naive, episode, shots):
    model, task = imported.model, episode(SIDE, shots)
    support = model.encode_support(task.support_images, task.support_masks)
    query = model.encode_query(task.query_images)
    stages, supports = model.backbone, []
    for image, mask in zip(task.support_images[0], task.support_masks[0], strict=True):
        supports.append(stages(image[None], (mask == 1).float()[None, None]))
    seen = (stages(task.query_images), supports, task.support_masks[0])
    final, training, meta, base = reference(weights, seen, naive)
    output = model.match(support, query)
    torch.testing.assert_close(output.logits.double(), final, rtol=0, atol=1e-4)

    labels = torch.where(task.query_masks == 1, OWN, task.query_masks.long())
    truth = TrainingTruth(task.query_masks, task.support_masks, labels, torch.tensor([OWN]))
    losses = model.losses(support, query, truth)
    mask = task.query_masks.long()
    expected = {
        "final": naive.cross_entropy(training, mask),
        "meta": naive.cross_entropy(meta, mask),
        "base": naive.cross_entropy(base, labels),
    }
    expected["total"] = sum(expected.values())
    assert {n: float(t) for n, t in losses.items()} == pytest.approx(expected, abs=1e-5)
    assert expected["final"] != pytest.approx(naive.cross_entropy(final, mask), abs=1e-5)


def test_every_published_tensor_is_used(imported):
    assert imported.unused == ()
    assert imported.options == {"backbone": "resnet50", "shots": 5, "base_classes": 15}


def test_checkpoint_of_one_shot_has_no_weighting(weights):
    single = {n: t for n, t in weights.items() if "kshot" not in n}
    assert PUBLISHED.options_of(single)["shots"] == 1
    assert PUBLISHED.unused_of(weights) == ()


@torch.no_grad()
def test_published_base_learner_is_read(
    imported, weights, resnet_state, write_checkpoint, tmp_path, episode
):
    state = {f"encoder.{n.removeprefix('layer')}": t for n, t in resnet_state.items()}
    for name, tensor in weights.items():
        if name.startswith("learner_base.0."):
            state["ppm." + name.removeprefix("learner_base.0.")] = tensor
        if name.startswith("learner_base.1."):
            state["cls." + name.removeprefix("learner_base.1.")] = tensor
    path = write_checkpoint(tmp_path / "base.pth", state | resnet_state)
    images = episode(SIDE, 1).query_images
    learner, bam = import_base_learner(path), imported.model
    small = bam.learner(bam.backbone(images).high)
    expected = F.interpolate(small, (SIDE, SIDE), mode="bilinear", align_corners=True)
    assert torch.equal(learner(images), expected)
    write_checkpoint(path, {n: t for n, t in state.items() if n != "cls.1.bias"} | resnet_state)
    with pytest.raises(FcpError, match=r"learner\.norm\.bias is missing"):
        import_base_learner(path)


# --- Parts ---


def test_gram_is_of_cosines():
    maps = torch.rand(2, 5, 3, 4)
    found = gram(maps)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2), torch.ones(2, 5))
    torch.testing.assert_close(found, gram(7 * maps))
    assert style_distance(found, found[:, None]).abs().max() == 0


@torch.no_grad()
def test_weight_belongs_to_its_shot_only_if_unsorted():
    torch.manual_seed(0)
    layer = ShotWeights(4)
    distances = torch.tensor([[0.3, 0.1, 0.4, 0.2]]) * 10
    weights = layer(distances)
    torch.testing.assert_close(layer(distances.flip(1)), weights.flip(1))
    layer.unsort = False
    ranked = layer(distances)
    assert torch.equal(ranked, layer(distances.flip(1)))
    torch.testing.assert_close(ranked[0, [2, 0, 3, 1]], weights[0])


def test_other_numbers_of_shots_are_averaged():
    assert ShotWeights(5)(torch.rand(2, 3)).tolist() == [[pytest.approx(1 / 3)] * 3] * 2


@torch.no_grad()
def test_fresh_ensemble_is_the_meta_learner():
    meta = torch.rand(2, 2, 3, 3)
    assert torch.equal(Ensemble()(meta, torch.rand(2, 1, 3, 3), torch.rand(2)), meta)


def test_own_class_is_not_suppressed():
    logits = torch.zeros(2, 4, 1, 1)
    assert base_probability(logits, None).flatten().tolist() == [0.75, 0.75]
    logits[0, 2], logits[1, 1] = 50.0, 50.0
    left = base_probability(logits, torch.tensor([2, 2])).flatten()
    torch.testing.assert_close(left, torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)


def test_training_needs_to_know_the_base_classes(toy_backbone, episode):
    model = BAM(toy_backbone, BaseLearner(6, 3, width=4), width=8)
    task = episode(72, 1)
    support = model.encode_support(task.support_images, task.support_masks)
    with pytest.raises(FcpError, match="base_labels and classes are needed"):
        model.losses(
            support,
            model.encode_query(task.query_images),
            TrainingTruth(task.query_masks, task.support_masks),
        )


def test_base_learner_learns_with_its_backbone(toy_backbone, episode):
    torch.manual_seed(0)
    model = PSPNet(toy_backbone, BaseLearner(6, 3, width=8)).train()
    task = episode(72, 1, batch=2)
    labels = torch.where(task.query_masks == 1, 3, task.query_masks.long())
    assert model(task.query_images).shape == (2, 4, 72, 72)
    before = toy_backbone.norm.running_mean.clone()
    optimiser = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    history = []
    for _ in range(15):
        loss = model.losses(task.query_images, labels)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert not torch.equal(before, toy_backbone.norm.running_mean)
    assert history[-1] < 0.7 * history[0]


def test_true_size_has_the_published_channels():
    with torch.device("meta"):
        trunk = DilatedResNet((3, 4, 6, 3), stem="3conv")
        learner = BaseLearner(trunk.high_channels, 60)
    assert learner.reduce.weight.shape == (512, 4096, 3, 3)
    assert learner.score.weight.shape == (61, 512, 1, 1)
