"""CyCTR against its equations in float64, from published names; and what must hold."""

import itertools
import math

import pytest
import torch

from fcp.layers.position import sine_position
from fcp.method.base import TrainingTruth
from fcp.method.cyctr.deformable import DeformableAttention, position_code
from fcp.method.cyctr.keys import Keys, choose_keys, draw_evenly, draw_randomly, grid_labels, shares
from fcp.method.cyctr.model import CyCTR, dice_loss
from fcp.method.cyctr.transformer import CycleAttention, consistent
from fcp.method.trained import import_checkpoint

SIDE, GRID, C = 41, 6, 256


@pytest.fixture(scope="module")
def weights(random_weights, resnet_state):
    shapes = {"transformer.level_embed": (1, C)}
    for name, inputs in (
        ("adjust_feature_qry.0", 1536),
        ("adjust_feature_supp.0", 1536),
        ("qry_merge_feat.0", 513),
        ("supp_merge_feat.0", 512),
        ("merge_multi_lvl_reduce.0", 256),
        ("pred_supp_qry_proj.0", 256),
        ("supp_init_merge.0", 512),
        ("addtional_proj.0", 256),
        ("addtional_proj.2", 256),
    ):
        shapes[f"{name}.weight"] = (C, inputs, 1, 1)
    for name in ("merge_multi_lvl_sum", "supp_beta_conv"):
        shapes |= {f"{name}.{i}.weight": (C, C, 3, 3) for i in (0, 2)}
    for name in ("cls", "supp_cls"):
        shapes |= {
            f"{name}.0.weight": (C, C, 3, 3),
            f"{name}.3.weight": (2, C, 1, 1),
            f"{name}.3.bias": (2,),
        }
    for i in range(2):
        cross, own = f"transformer.cross_layers.{i}", f"transformer.qry_self_layers.{i}"
        shapes |= {f"{cross}.{n}.weight": (C, C) for n in ("q_fc", "k_fc", "v_fc", "proj")}
        shapes |= {f"{own}.{n}.weight": (C, C) for n in ("value_proj", "output_proj")}
        for name, size in (("sampling_offsets", 144), ("attention_weights", 72)):
            shapes |= {f"{own}.{name}.weight": (size, C), f"{own}.{name}.bias": (size,)}
    for i in range(4):
        shapes[f"transformer.ffns.{i}.layers.0.0.weight"] = (768, C)
        shapes[f"transformer.ffns.{i}.layers.1.weight"] = (C, 768)
    for i in range(8):
        shapes |= {f"transformer.layer_norms.{i}.{f}": (C,) for f in ("weight", "bias")}
    state = random_weights(shapes)
    stem = {0: "conv1", 1: "bn1", 3: "conv2", 4: "bn2", 6: "conv3", 7: "bn3"}
    for name, tensor in resnet_state.items():
        stage, place, rest = name.split(".", 2)
        inner = f"{stem[int(place)]}.{rest}" if stage == "layer0" else name
        state[f"backbone.body.{inner}"] = tensor
    return state


@pytest.fixture(scope="module")
def imported(weights, write_checkpoint, tmp_path_factory):
    path = write_checkpoint(tmp_path_factory.mktemp("cyctr") / "best.pth", weights)
    return import_checkpoint("cyctr", path)


def two_next_to(place):
    """Those of the two cells around a place that lie on the grid."""
    first = math.floor(place)
    return [i for i in (first, first + 1) if 0 <= i < GRID]


class Naive:
    """The method in float64, by published names; tokens are (L, 256)."""

    def __init__(self, w, naive):
        self.w, self.naive = w, naive

    def linear(self, x, name):
        y = x @ self.w[f"{name}.weight"].double().T
        return y + self.w[f"{name}.bias"].double() if f"{name}.bias" in self.w else y

    def norm(self, x, i):
        name = f"transformer.layer_norms.{i}"
        mean, deviation = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        normal = (x - mean) / (deviation + 1e-5).sqrt()
        return normal * self.w[f"{name}.weight"].double() + self.w[f"{name}.bias"].double()

    def feed(self, x, i):
        inner = self.linear(x, f"transformer.ffns.{i}.layers.0.0").relu()
        return x + self.linear(inner, f"transformer.ffns.{i}.layers.1")

    def deform(self, x, code, padded, layer):
        """Read nine places per head and cell, corner by corner."""
        name = f"transformer.qry_self_layers.{layer}"
        offsets = self.linear(x + code, f"{name}.sampling_offsets").view(-1, 8, 9, 2)
        share = self.linear(x + code, f"{name}.attention_weights").view(-1, 8, 9).softmax(2)
        values = self.linear(x, f"{name}.value_proj") * ~padded.flatten()[:, None]
        values = values.view(GRID, GRID, 8, 32)
        out = torch.zeros(len(x), 8, 32, dtype=torch.float64)
        for cell, head, point in itertools.product(range(len(x)), range(8), range(9)):
            # Cell (i, j) has its value at (j, i) when its centre is j + ½, i + ½.
            px = cell % GRID + float(offsets[cell, head, point, 0])
            py = cell // GRID + float(offsets[cell, head, point, 1])
            for yy, xx in itertools.product(two_next_to(py), two_next_to(px)):
                near = (1 - abs(py - yy)) * (1 - abs(px - xx)) * share[cell, head, point]
                out[cell, head] += near * values[yy, xx, head]
        return self.linear(out.flatten(1), f"{name}.output_proj")

    def cross(self, x, support, keys, layer):
        name = f"transformer.cross_layers.{layer}"
        q = self.linear(x, f"{name}.q_fc")
        k, v = (self.linear(support, f"{name}.{n}_fc") for n in "kv")
        read = []
        for h in range(8):
            part = slice(32 * h, 32 * h + 32)
            scores = q[:, part] @ k[:, part].T / math.sqrt(32)
            bias = torch.zeros(scores.shape[1], dtype=torch.float64)
            for j in range(scores.shape[1]):
                back = int(scores[int(scores[:, j].argmax())].argmax())
                if keys.padded[0, j] or keys.labels[0, back] != keys.labels[0, j]:
                    bias[j] = -10000
            read.append((scores + bias).softmax(1) @ v[:, part])
        return self.linear(torch.cat(read, 1), f"{name}.proj")

    def code(self, padded):
        """Sine of the count of unpadded cells, y half first."""
        code = torch.zeros(GRID, GRID, C, dtype=torch.float64)
        for y, x in itertools.product(range(GRID), range(GRID)):
            for axis, (line, place) in enumerate(((padded[:, x], y), (padded[y], x))):
                count = float((~line[: place + 1]).sum()) / (float((~line).sum()) + 1e-6)
                for i in range(64):
                    angle = count * 2 * math.pi / 10000 ** (2 * i / 128)
                    code[y, x, 128 * axis + 2 * i] = math.sin(angle)
                    code[y, x, 128 * axis + 2 * i + 1] = math.cos(angle)
        return code.view(-1, C) + self.w["transformer.level_embed"].double()


def swapped(mid):
    return torch.cat([mid[:, 1024:], mid[:, :1024]], 1)


def reference(w, seen, keys, padded, naive):
    """Logits of the query and, for its mask, of the supports, at the picture's size."""
    query, supports, masks, query_mask = seen
    net, size = Naive(w, naive), (SIDE, SIDE)
    x = naive.conv(swapped(query.mid), w, "adjust_feature_qry.0").relu()
    means, tokens, priors, projected = [], [], [], []
    for features, mask in zip(supports, masks, strict=True):
        y = naive.conv(swapped(features.mid), w, "adjust_feature_supp.0").relu()
        m = naive.up((mask == 1).double()[None, None], (GRID, GRID))[0, 0]
        v = naive.mean_under(y[0], m).view(1, -1, 1, 1).expand_as(y)
        means.append(v)
        merged = naive.conv(torch.cat([y, v], 1), w, "supp_merge_feat.0").relu()
        tokens.append(merged[0].flatten(1).T)
        priors.append(naive.prior(query.high[0], features.high[0].double() * m))
        projected.append(y)
    p = (sum(priors) / len(priors))[None, None]
    q = naive.conv(torch.cat([x, sum(means) / len(means), p], 1), w, "qry_merge_feat.0").relu()
    q, code = q[0].flatten(1).T, net.code(padded)
    for layer in range(2):
        q = net.norm(q + net.deform(q, code, padded, layer), 4 * layer)
        q = net.norm(net.feed(q, 2 * layer), 4 * layer + 1)
        q = net.norm(q + net.cross(q, torch.cat(tokens)[keys.index[0]], keys, layer), 4 * layer + 2)
        q = net.norm(net.feed(q, 2 * layer + 1), 4 * layer + 3)
    f = naive.conv(q.T.view(1, C, GRID, GRID), w, "merge_multi_lvl_reduce.0").relu()
    f = naive.residual(f, w, "merge_multi_lvl_sum.0", "merge_multi_lvl_sum.2")
    u = naive.conv(f, w, "pred_supp_qry_proj.0").relu() + x
    m = naive.up((query_mask == 1).double()[None, None], (GRID, GRID))[0, 0]
    u = naive.mean_under(u[0], m).view(1, -1, 1, 1).expand_as(f)
    back = []
    for y in projected:
        s = naive.conv(torch.cat([y, u], 1), w, "supp_init_merge.0").relu()
        s = naive.residual(s, w, "supp_beta_conv.0", "supp_beta_conv.2")
        back.append(naive.up(naive.head(s, w, "supp_cls"), size))
    return naive.up(naive.head(f, w, "cls"), size), back


def dice(logits, mask):
    """Of one picture."""
    total = 0.0
    for channel, value in ((0, 0), (1, 1)):
        p, t = logits[0, channel].sigmoid(), (mask == value).double()
        total += 1 - 2 * float((p * t).sum()) / max(float((p * p).sum() + (t * t).sum()), 1e-8)
    return total


@pytest.mark.parametrize(("shots", "per_shot"), [(1, 300), (5, 300), (5, 5)])
@torch.no_grad()
def test_published_weights_give_the_equations(imported, weights, naive, episode, shots, per_shot):
    torch.manual_seed(0)
    model, task = imported.model, episode(SIDE, shots)
    model.keys_per_shot = per_shot
    padding = torch.zeros(1, shots + 1, SIDE, SIDE, dtype=torch.bool)
    padding[:, :, 30:] = True
    support = model.encode_support(task.support_images, task.support_masks, padding[:, 1:])
    query = model.encode_query(task.query_images, padding[:, 0])
    keys = model.choose(support)
    assert keys.index.shape == (1, min(2 * per_shot * shots, GRID**2 * shots))
    padded = torch.tensor([[i * SIDE // GRID >= 30] * GRID for i in range(GRID)])
    supports = [model.backbone(image[None]) for image in task.support_images[0]]
    seen = (model.backbone(task.query_images), supports, task.support_masks[0], task.query_masks[0])
    logits, back = reference(weights, seen, keys, padded, naive)
    assert logits.std() > 0.1
    assert keys.padded.any()
    output = model.match(support, query, keys=keys)
    torch.testing.assert_close(output.logits.double(), logits, rtol=0, atol=2e-4)

    if per_shot == 300:  # all cells are keys: nothing is random
        losses = model.losses(support, query, TrainingTruth(task.query_masks, task.support_masks))
        theirs = [dice(b, m) for b, m in zip(back, task.support_masks[0], strict=True)]
        expected = {"main": dice(logits, task.query_masks[0]), "support": sum(theirs) / shots}
        expected["total"] = sum(expected.values())
        assert {n: float(t) for n, t in losses.items()} == pytest.approx(expected, abs=1e-4)


def test_unused_tensors_are_named(imported):
    assert imported.unused == ("addtional_proj.0.weight", "addtional_proj.2.weight")
    stages = imported.model.backbone
    assert [stages.layer3[i].conv2.dilation for i in (0, 1)] == [(1, 1), (2, 2)]
    assert [stages.layer4[i].conv2.dilation for i in (0, 1)] == [(2, 2), (4, 4)]


# --- Keys ---


def test_shares_fill_up():
    assert shares(500, 3100, 300) == (300, 300)
    assert shares(40, 3560, 300) == (40, 560)
    assert shares(3500, 100, 300) == (500, 100)
    assert shares(10, 90, 300) == (10, 90)


def test_labels_have_both_kinds():
    cells = torch.zeros(3, 1, 6, 6)
    cells[1] = 1
    cells[2, 0, 1, 1] = 1
    labels = grid_labels(cells)
    assert labels[0].nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert (~labels[1]).nonzero().tolist() == [[0, 0], [0, 5], [5, 0], [5, 5]]
    assert torch.equal(labels[2], cells[2, 0] > 0)


def test_keys_carry_their_own_labels_unless_released():
    labels = torch.zeros(1, 60, dtype=torch.bool)
    labels[0, 40:60] = True
    padded = torch.zeros(1, 60, dtype=torch.bool)
    padded[0, :5] = True
    sound = choose_keys(labels, padded, 10, draw_evenly, released=False)
    assert sound.index[0].tolist() == [*range(40, 60, 2), *range(0, 40, 4)]
    assert torch.equal(sound.labels, labels.gather(1, sound.index))
    assert torch.equal(sound.padded, padded.gather(1, sound.index))
    odd = choose_keys(labels, padded, 10, draw_evenly, released=True)
    assert torch.equal(odd.index, sound.index)
    assert not odd.labels.any()  # places 0, 2, … 18 and 0, 4, … 36 of the whole map
    assert odd.padded[0].sum() == 3 + 2
    whole = choose_keys(labels, padded, 30, draw_randomly, released=True)  # 20 of 20 and 40 of 40
    assert whole.labels[0].tolist() == [True] * 20 + [False] * 40


@torch.no_grad()
def test_sound_test_is_the_same_each_time_and_released_is_not(toy_backbone, episode):
    torch.manual_seed(0)
    task, picked = episode(72, 2), {}
    for released in (False, True):
        model = CyCTR(toy_backbone, width=16, keys_per_shot=8, released=released).eval()
        support = model.encode_support(task.support_images, task.support_masks)
        picked[released] = [model.choose(support).index for _ in range(2)]
    assert torch.equal(*picked[False])
    assert not torch.equal(*picked[True])


# --- Layers ---


def test_code_without_padding_is_the_plain_one():
    found = position_code(torch.zeros(2, 5, 7, dtype=torch.bool), 16)
    expected = sine_position(16, (5, 7)).flatten(1).mT
    torch.testing.assert_close(found, expected.expand(2, -1, -1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_padded_cells_are_never_read():
    torch.manual_seed(0)
    layer, code = DeformableAttention(16, 8), torch.rand(1, 20, 16)
    padded = torch.zeros(1, 4, 5, dtype=torch.bool)
    padded[:, 3] = True
    tokens = torch.rand(1, 20, 16)
    before = layer(tokens, code, padded)[:, :15]
    tokens[:, 15:] = torch.rand(1, 5, 16)
    torch.testing.assert_close(layer(tokens, code, padded)[:, :15], before)


def test_cycle_goes_through_the_best_query():
    scores = torch.tensor([[[[5.0, 1, 0], [0, 2, 9]]]])  # 2 queries, 3 keys
    # Key 0 → query 0 → key 0; key 1 → query 1 → key 2; key 2 → query 1 → key 2.
    assert consistent(scores, torch.tensor([[True, False, False]])).all()
    found = consistent(scores, torch.tensor([[True, True, False]]))
    assert found.tolist() == [[[True, False, True]]]


@torch.no_grad()
def test_closed_keys_have_no_influence():
    torch.manual_seed(0)
    layer = CycleAttention(16, 8).eval()
    tokens, support = torch.rand(1, 9, 16), torch.rand(1, 6, 16)
    none, last = torch.zeros(1, 6, dtype=torch.bool), torch.zeros(1, 6, dtype=torch.bool)
    last[0, 5] = True
    index = torch.arange(6)[None]
    alike = Keys(index, none, last)  # one kind: every cycle is consistent
    before = layer(tokens, support, alike)
    support[:, 5] = torch.rand(16)
    torch.testing.assert_close(layer(tokens, support, alike), before)
    short = Keys(index[:, :5], none[:, :5], none[:, :5])
    torch.testing.assert_close(layer(tokens, support[:, :5], short), before)


def test_dice_is_0_for_a_perfect_answer_and_2_for_a_wrong_one():
    mask = torch.zeros(1, 4, 4)
    mask[:, :2] = 1
    right = torch.stack([mask == 0, mask == 1], 1) * 200.0 - 100
    assert float(dice_loss(right, mask)) == pytest.approx(0)
    assert float(dice_loss(-right, mask)) == pytest.approx(2)
    mask[:, 3] = 255  # target 0 in both channels, but answers there still count
    assert float(dice_loss(right, mask)) == pytest.approx(1 - 2 * 4 / 12)
