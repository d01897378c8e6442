"""HDMNet against its equations in float64, from published names."""

import pytest
import torch
import torch.nn.functional as F

from fcp.method.base import TrainingTruth
from fcp.method.trained import import_checkpoint

SIDE, GRIDS, OWN = 57, (8, 4, 2), 3
T = "transformer.mix_transformer"


def block_shapes(name, shrink=0):
    shapes = {}
    for part in ("norm1", "norm2", *(["attn.norm"] if shrink else [])):
        shapes |= {f"{name}.{part}.{field}": (64,) for field in ("weight", "bias")}
    if shrink:
        shapes |= {
            f"{name}.attn.sr.weight": (64, 64, shrink, shrink),
            f"{name}.attn.sr.bias": (64,),
        }
    shapes |= {f"{name}.attn.attn.linear_{p}.weight": (64, 64) for p in "qkvo"}
    for place, shape in ((0, (256, 64, 1, 1)), (1, (256, 1, 3, 3)), (4, (64, 256, 1, 1))):
        shapes |= {
            f"{name}.ffn.layers.{place}.weight": shape,
            f"{name}.ffn.layers.{place}.bias": shape[:1],
        }
    return shapes


def parse_shapes(name, outputs, norm_shapes):
    shapes = {
        f"{name}.0.weight": (256, 64, 1, 1),
        f"{name}.0.bias": (256,),
        f"{name}.2.weight": (256, 256, 3, 3),
        f"{name}.2.bias": (256,),
        f"{name}.4.weight": (outputs, 256, 1, 1),
        f"{name}.4.bias": (outputs,),
    }
    return shapes | norm_shapes(f"{name}.1", 256) | norm_shapes(f"{name}.3", 256)


def level_shapes(level, norm_shapes):
    down, side = f"{T}.down_sample_layers.{level}", 3 if level else 1
    shapes = {f"{down}.0.projection.weight": (64, 64, side, side)}
    names = (
        f"{down}.0.projection.bias",
        *(f"{down}.{n}.{f}" for n in ("0.norm", "3") for f in ("weight", "bias")),
    )
    shapes |= dict.fromkeys(names, (64,))
    for block in (1, 2):
        shapes |= block_shapes(f"{down}.{block}", (4, 2, 0)[level])
    shapes |= block_shapes(f"{T}.match_layers.{level}.0")
    shapes |= {f"{T}.match_layers.{level}.1.conv.weight": (64, 66, 3, 3)}
    shapes |= norm_shapes(f"{T}.match_layers.{level}.1.bn", 64)
    shapes |= parse_shapes(f"{T}.parse_layers.{level}", 64, norm_shapes)
    return shapes | norm_shapes(f"{T}.parse_layers.{level}.5", 64)


@pytest.fixture(scope="module")
def weights(random_weights, resnet_state, norm_shapes):
    shapes = {
        "down_query.0.weight": (256, 1536, 1, 1),
        "down_supp.0.weight": (256, 1536, 1, 1),
        "query_merge.0.weight": (64, 514, 1, 1),
        "supp_merge.0.weight": (64, 512, 1, 1),
        "gram_merge.weight": (1, 2, 1, 1),
        "cls_merge.weight": (1, 2, 1, 1),
        "kshot_rw.0.weight": (2, 5, 1, 1),
        "kshot_rw.0.bias": (2,),
        "kshot_rw.2.weight": (5, 2, 1, 1),
        "kshot_rw.2.bias": (5,),
        "cls.0.weight": (512, 4096, 3, 3),
        "base_learnear.2.weight": (16, 512, 1, 1),
        "base_learnear.2.bias": (16,),
        **norm_shapes("cls.1", 512),
    }
    for i in range(4):
        shapes[f"ppm.features.{i}.1.weight"] = (512, 2048, 1, 1)
        shapes |= norm_shapes(f"ppm.features.{i}.2", 512)
    for level in range(3):
        shapes |= level_shapes(level, norm_shapes)
    shapes |= parse_shapes(f"{T}.cls", 2, norm_shapes)
    state = random_weights(shapes) | resnet_state
    state["kshot_rw.0.weight"] = state["kshot_rw.0.weight"].abs() * 20  # ψ is small
    return state


@pytest.fixture(scope="module")
def imported(weights, write_checkpoint, tmp_path_factory):
    """Trained for 5 shots, which changes nothing for 1."""
    path = write_checkpoint(tmp_path_factory.mktemp("hdmnet") / "best.pth", weights)
    return import_checkpoint("hdmnet", path)


class Naive:
    """The transformer in float64, head by head, by published names. Tokens are (L, 64)."""

    def __init__(self, w, naive):
        self.w, self.naive = w, naive

    def get(self, name):
        return self.w[name].double()

    def layer_norm(self, x, name):
        mean, deviation = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        normal = (x - mean) / (deviation + 1e-6).sqrt()
        return normal * self.get(f"{name}.weight") + self.get(f"{name}.bias")

    def maps(self, x):
        side = round(len(x) ** 0.5)
        return x.T.reshape(1, -1, side, side)

    def tokens(self, maps):
        return maps[0].flatten(1).T

    def linear(self, x, name):
        return x @ self.get(f"{name}.weight").T

    def feed(self, x, name):
        y = self.naive.conv(self.maps(x), self.w, f"{name}.layers.0")
        y = self.naive.conv(y, self.w, f"{name}.layers.1", 1, groups=256)
        y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
        return self.tokens(self.naive.conv(y, self.w, f"{name}.layers.4"))

    def self_block(self, x, name, heads, shrink):
        y = self.layer_norm(x, f"{name}.norm1")
        keys = y
        if shrink > 1:
            small = self.naive.conv(self.maps(y), self.w, f"{name}.attn.sr", stride=shrink)
            keys = self.layer_norm(self.tokens(small), f"{name}.attn.norm")
        q, k, v = (
            self.linear(t, f"{name}.attn.attn.linear_{p}")
            for t, p in ((y, "q"), (keys, "k"), (keys, "v"))
        )
        read, d = [], 64 // heads
        for h in range(heads):
            part = slice(h * d, h * d + d)
            read.append((q[:, part] @ k[:, part].T / d**0.5).softmax(1) @ v[:, part])
        x = x + self.linear(torch.cat(read, 1), f"{name}.attn.attn.linear_o")
        return x + self.feed(self.layer_norm(x, f"{name}.norm2"), f"{name}.ffn")

    def hierarchy(self, maps):
        found = []
        for level, (heads, shrink) in enumerate(((2, 4), (4, 2), (8, 1))):
            name = f"{T}.down_sample_layers.{level}"
            options = {"stride": 2, "padding": 1} if level else {}
            x = self.tokens(self.naive.conv(maps, self.w, f"{name}.0.projection", **options))
            x = self.layer_norm(x, f"{name}.0.norm")
            for block in (1, 2):
                x = self.self_block(x, f"{name}.{block}", heads, shrink)
            found.append(self.layer_norm(x, f"{name}.3"))
            maps = self.maps(found[-1])
        return found

    def match(self, query, supports, inside, level):
        """Tokens of the query, those of all shots in a row, 0/1 of each."""
        name = f"{T}.match_layers.{level}.0"
        q, keys = (self.layer_norm(t, f"{name}.norm1") for t in (query, torch.cat(supports)))
        q, k, v = (
            self.linear(t, f"{name}.attn.attn.linear_{p}")
            for t, p in ((q, "q"), (keys, "k"), (keys, "v"))
        )
        read, correlations = [], []
        for part in (slice(0, 32), slice(32, 64)):
            a, b = (t[:, part] / t[:, part].norm(dim=1, keepdim=True) for t in (q, k))
            c = a @ b.T / 0.1
            read.append((c.exp() / c.exp().sum(0, keepdim=True) * inside) @ v[:, part])
            correlations.append((c * inside).sum(1) / (inside.sum() + 1e-9))
        x = query + self.linear(torch.cat(read, 1), f"{name}.attn.attn.linear_o")
        x = x + self.feed(self.layer_norm(x, f"{name}.norm2"), f"{name}.ffn")
        return x, sum(correlations) / 2

    def parse(self, x, name):
        for place in (0, 2):
            x = self.naive.norm(
                self.naive.conv(x, self.w, f"{name}.{place}", place // 2),
                self.w,
                f"{name}.{place + 1}",
            )
        return self.naive.conv(x, self.w, f"{name}.4")

    def decode(self, levels):
        def block(x, level):
            name = f"{T}.parse_layers.{level}"
            return self.naive.norm(self.parse(x, name), self.w, f"{name}.5").relu()

        y = block(levels[2], 2)
        for level in (1, 0):
            size = levels[level].shape[-2:]
            y = F.interpolate(y, size, mode="bilinear", align_corners=False)
            y = y + block(levels[level] + y, level)
        return self.parse(y, f"{T}.cls")


def nearest(mask, grid):
    """Cell i reads pixel floor(i·S/h)."""
    rows = [i * SIDE // grid for i in range(grid)]
    return (mask[rows][:, rows] == 1).double()


def stages_of(features, w, naive):
    """Stages 5 and 4 of one picture."""
    return naive.learner(features.high, w, "ppm", ("cls.0", "cls.1")), features.high.double()


def released_weights(distances, w):
    """Weights in the order of the distances, handed out in the order of the shots."""
    if len(distances) == 1:
        return torch.ones(1, dtype=torch.float64)
    x = distances.sort().values
    for i in (0, 2):
        x = w[f"kshot_rw.{i}.weight"].double()[:, :, 0, 0] @ x + w[f"kshot_rw.{i}.bias"].double()
        x = x.relu() if i == 0 else x
    return x.softmax(0)


def reference(w, seen, naive):
    """Final (test and training), meta and base logits, and correlations: table1.md §4."""
    query, supports, masks = seen
    net = Naive(w, naive)
    x = naive.conv(query.mid, w, "down_query.0").relu()
    ours = stages_of(query, w, naive)
    means, tokens, priors = [], [], []
    for features, mask in zip(supports, masks, strict=True):
        y = naive.conv(features.mid, w, "down_supp.0").relu()
        m = naive.up((mask == 1).double()[None, None], (GRIDS[0],) * 2)[0, 0]
        v = naive.mean_under(y[0], m).view(1, -1, 1, 1).expand_as(y)
        means.append(v)
        tokens.append(net.hierarchy(naive.conv(torch.cat([y, v], 1), w, "supp_merge.0").relu()))
        cells = nearest(mask, GRIDS[0])
        theirs = stages_of(features, w, naive)
        priors.append(
            torch.stack(
                [naive.best_cosine(a[0], b[0] * cells) for a, b in zip(ours, theirs, strict=True)]
            )
        )
    D = (sum(priors) / len(priors))[None]
    Q = torch.cat([x, sum(means) / len(means), 10 * D], 1)
    levels, correlations = [], []
    for level, q in enumerate(net.hierarchy(naive.conv(Q, w, "query_merge.0").relu())):
        inside = torch.cat([nearest(mask, GRIDS[level]).flatten() for mask in masks])
        out, r = net.match(q, [t[level] for t in tokens], inside, level)
        both = torch.cat([net.maps(out), naive.up(D, (GRIDS[level],) * 2)], 1)
        name = f"{T}.match_layers.{level}.1"
        levels.append(naive.norm(naive.conv(both, w, f"{name}.conv", 1), w, f"{name}.bn").relu())
        correlations.append(r)
    meta = net.decode(levels)

    g = naive.gram(query.mid[0, 1024:])
    distances = torch.stack([(g - naive.gram(s.mid[0, 1024:])).norm() / 512 for s in supports])
    psi = (released_weights(distances, w) * distances).sum()
    base = naive.conv(ours[0].relu(), w, "base_learnear.2")
    finals = [naive.ensemble(w, meta, base, psi, left_out) for left_out in (None, OWN)]
    return [naive.up(t, (SIDE, SIDE)) for t in (*finals, meta, base)], correlations


def kl(correlations, mask):
    """Divergence of each level from the coarser one, from the mask at the coarsest."""
    teacher, total = torch.where(mask == 1, 1.0, -1e9).double()[None, None], 0.0
    for level in (2, 1, 0):
        size = (GRIDS[level],) * 2
        t = F.interpolate(teacher, size, mode="bilinear", align_corners=False).flatten().softmax(0)
        s = correlations[level].softmax(0)
        total += float((t * ((t + 1e-12).log() - (s + 1e-12).log())).sum())
        teacher = correlations[level].view(1, 1, *size)
    return total


@pytest.mark.parametrize("shots", [1, 5])
@torch.no_grad()
def test_published_weights_give_the_equations(imported, weights, naive, episode, shots):
    model, task = imported.model, episode(SIDE, shots)
    support = model.encode_support(task.support_images, task.support_masks)
    query = model.encode_query(task.query_images)
    stages, supports = model.backbone, []
    for image, mask in zip(task.support_images[0], task.support_masks[0], strict=True):
        shown = stages.normalise(image[None]) * (mask == 1)
        supports.append(stages(shown * stages.normalise.std + stages.normalise.mean))
    seen = (stages(task.query_images), supports, task.support_masks[0])
    (final, training, meta, base), correlations = reference(weights, seen, naive)
    output = model.match(support, query)
    assert final.std() > 0.1
    torch.testing.assert_close(output.logits.double(), final, rtol=0, atol=2e-4)
    for found, expected in zip(output.correlations, correlations, strict=True):
        torch.testing.assert_close(found.flatten().double(), expected, rtol=0, atol=1e-3)

    mask = task.query_masks.long()
    labels = torch.where(mask == 1, OWN, mask)
    truth = TrainingTruth(task.query_masks, task.support_masks, labels, torch.tensor([OWN]))
    losses = model.losses(support, query, truth)
    expected = {
        "final": naive.cross_entropy(training, mask),
        "meta": naive.cross_entropy(meta, mask),
        "distillation": kl(correlations, mask[0]),
        "base": naive.cross_entropy(base, labels),
    }
    expected["total"] = sum(expected.values()) - expected["distillation"] * 2 / 3
    assert {n: float(t) for n, t in losses.items()} == pytest.approx(expected, abs=2e-4)


def test_every_published_tensor_is_used(imported):
    assert imported.unused == ()


def test_tensors_that_no_key_passes_are_named(weights, write_checkpoint, tmp_path):
    idle = f"{T}.match_layers.1.0.attn.norm.weight"
    single = {n: t for n, t in weights.items() if "kshot" not in n}
    single |= {idle: torch.ones(64), "kshot_rw.0.weight": torch.ones(2, 1, 1, 1)}
    found = import_checkpoint("hdmnet", write_checkpoint(tmp_path / "idle.pth", single))
    assert found.unused == (idle, "kshot_rw.0.weight")
    assert found.options["shots"] == 1
