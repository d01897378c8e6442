"""PFENet against its equations in float64, from published names; and what must hold."""

import pytest
import torch
import torch.nn.functional as F

from fcp.errors import FcpError
from fcp.method.base import TrainingTruth
from fcp.method.pfenet.enrichment import COCO_BINS, bin_cells
from fcp.method.pfenet.model import PFENet
from fcp.method.trained import build_trained, import_checkpoint

SIDE, GRID = 41, 6
BINS = (6, 4, 3, 2)


@pytest.fixture(scope="module")
def weights(random_weights, resnet_state):
    shapes = {"res1.0.weight": (256, 1024, 1, 1)}
    for name in ("down_query", "down_supp"):
        shapes[f"{name}.0.weight"] = (256, 1536, 1, 1)
    for i in range(4):
        shapes[f"init_merge.{i}.0.weight"] = (256, 513, 1, 1)
        if i < 3:
            shapes[f"alpha_conv.{i}.0.weight"] = (256, 512, 1, 1)
    for name in (*(f"beta_conv.{i}" for i in range(4)), "res2"):
        shapes |= {f"{name}.{j}.weight": (256, 256, 3, 3) for j in (0, 2)}
    for name in (*(f"inner_cls.{i}" for i in range(4)), "cls"):
        shapes |= {
            f"{name}.0.weight": (256, 256, 3, 3),
            f"{name}.3.weight": (2, 256, 1, 1),
            f"{name}.3.bias": (2,),
        }
    return random_weights(shapes) | resnet_state


@pytest.fixture(scope="module")
def imported(weights, write_checkpoint, tmp_path_factory):
    path = write_checkpoint(tmp_path_factory.mktemp("pfenet") / "best.pth", weights)
    return import_checkpoint("pfenet", path, bins=BINS)


def reference(w, seen, naive):
    """Logits (2, H, W) and those of the scales, of one query: table1.md §2 to the letter."""
    query, supports, masks = seen
    x = naive.conv(query.mid, w, "down_query.0").relu()
    v, priors = 0, []
    for features, mask in zip(supports, masks, strict=True):
        m = naive.up((mask == 1).double()[None, None], (GRID, GRID))[0, 0]
        y = naive.conv(features.mid, w, "down_supp.0").relu()[0]
        v = v + naive.mean_under(y, m) / len(masks)
        priors.append(naive.prior(query.high[0], features.high[0].double() * m))
    p = (sum(priors) / len(priors))[None, None]
    scales, kept = [], []
    for i, b in enumerate(BINS):
        parts = [F.adaptive_avg_pool2d(x, b), v.view(1, -1, 1, 1).expand(1, -1, b, b)]
        m = naive.conv(torch.cat([*parts, naive.up(p, (b, b))], 1), w, f"init_merge.{i}.0").relu()
        if i:
            both = torch.cat([m, naive.up(kept[-1], (b, b))], 1)
            m = naive.conv(both, w, f"alpha_conv.{i - 1}.0").relu() + m
        m = naive.residual(m, w, f"beta_conv.{i}.0", f"beta_conv.{i}.2")
        scales.append(naive.up(naive.head(m, w, f"inner_cls.{i}"), (SIDE, SIDE)))
        kept.append(naive.up(m, (GRID, GRID)))
    f = naive.conv(torch.cat(kept, 1), w, "res1.0").relu()
    f = naive.residual(f, w, "res2.0", "res2.2")
    return naive.up(naive.head(f, w, "cls"), (SIDE, SIDE)), scales


@pytest.mark.parametrize("shots", [1, 5])
@torch.no_grad()
def test_published_weights_give_the_equations(imported, weights, naive, episode, shots):
    model, task = imported.model, episode(SIDE, shots)
    support = model.encode_support(task.support_images, task.support_masks)
    query = model.encode_query(task.query_images)
    output = model.match(support, query)
    stages = model.backbone
    supports = []
    for image, mask in zip(task.support_images[0], task.support_masks[0], strict=True):
        plain = stages(image[None])
        cells = naive.up((mask == 1).float()[None, None], (GRID, GRID))
        high = stages.layer4(plain.mid[:, :1024] * cells)
        supports.append(type(plain)(plain.mid, high))
    seen = (stages(task.query_images), supports, task.support_masks[0])
    logits, scales = reference(weights, seen, naive)
    assert logits.std() > 0.1
    torch.testing.assert_close(output.logits.double(), logits, rtol=0, atol=1e-4)
    assert torch.equal(output.mask_logits > 0, output.logits.argmax(1) == 1)

    losses = model.losses(support, query, TrainingTruth(task.query_masks, task.support_masks))
    labels = task.query_masks.long()
    each = [naive.cross_entropy(scale, labels) for scale in scales]
    assert float(losses["main"]) == pytest.approx(naive.cross_entropy(logits, labels), abs=1e-4)
    assert float(losses["scales"]) == pytest.approx(sum(each) / 4, abs=1e-4)
    assert losses["total"] == losses["main"] + losses["scales"]


def test_every_published_tensor_is_used(imported, weights):
    assert imported.unused == ()
    stem = imported.model.backbone.state_dict()
    assert all(torch.equal(stem[n], t) for n, t in weights.items() if n.startswith("layer"))


def test_options_build_the_same_model_again(imported):
    assert imported.options == {"backbone": "resnet50", "released": True, "bins": BINS}
    again = build_trained("pfenet", **imported.options)
    again.load_state_dict(imported.model.state_dict())
    assert again.enrichment.bins == BINS
    assert again.released


def test_entries_that_do_not_fit_are_named(weights, write_checkpoint, tmp_path):
    lacking = {n: t for n, t in weights.items() if n != "res1.0.weight"} | {
        "odd.weight": torch.ones(1)
    }
    path = write_checkpoint(tmp_path / "lacking.pth", lacking)
    with pytest.raises(
        FcpError, match=r"lacking\.pth: .*join\.weight is missing; odd\.weight is unknown"
    ):
        import_checkpoint("pfenet", path)
    with pytest.raises(FcpError, match="expected one of ssp, pfenet"):
        import_checkpoint("pfnet", path)
    with pytest.raises(FcpError, match=r"'pfenet': backbone\.name: unknown 'resnet18'"):
        build_trained("pfenet", backbone="resnet18")


def test_coco_bins_are_fractions_of_the_rows():
    assert [bin_cells(b, 81) for b in COCO_BINS] == [81, 40, 20, 10]


@pytest.mark.parametrize("released", [False, True])
def test_released_batch_norms_drift(toy_backbone, episode, released):
    model = PFENet(toy_backbone, bins=(1.0,), width=8, released=released).train()
    before = toy_backbone.norm.running_mean.clone()
    task = episode(72, 2, batch=2)
    whole = model.see_support(task.support_images.flatten(0, 1), task.support_masks)
    one = model.see_support(task.support_images[:, 1], task.support_masks[:, 1:])
    torch.testing.assert_close(whole.mid[1::2], one.mid)  # statistics are of one shot each
    torch.testing.assert_close(whole.high[1::2], one.high)
    assert torch.equal(before, toy_backbone.norm.running_mean) != released


@pytest.mark.parametrize(
    ("bins", "told"),
    [
        *(
            (bins, r"bins: expected cells \(60, 30\) or fractions")
            for bins in ([], [0, 2], [1, 0.5], [1.5])
        ),
        (["a"], r"bins\[0\]: expected float, got 'a'"),
        ([True], r"bins\[0\]: expected float, got True"),
    ],
)
def test_scales_that_cannot_be_meant_are_refused(small_backbone, bins, told):
    with pytest.raises(FcpError, match=told):
        build_trained("pfenet", backbone=small_backbone, width=8, bins=bins)
