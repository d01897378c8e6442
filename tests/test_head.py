"""The whole head against loops over cells, tokens and heads, written from method.md in numpy."""

import math

import numpy as np
import pytest
import torch

from fcp.config import HeadConfig
from fcp.errors import FcpError
from fcp.head import FCPHead, run_head

C, N, CM, CH = 8, 3, 6, 5
H, W = 4, 4

ROWS = {  # Table 2
    "a": {"features": "F", "matching": "pixel", "pseudo_mask": "conventional"},
    "b": {"features": "G", "matching": "pixel", "pseudo_mask": "conventional"},
    "c": {"features": "F", "pseudo_mask": "conventional"},
    "d": {"features": "G", "pseudo_mask": "conventional"},
    "e": {"pseudo_mask": "conventional"},
    "f": {},
}
SWITCHES = {
    **ROWS,
    "paper": {"refresh_guidance": False},
    "one step": {"steps": 1},
    "two steps": {"steps": 2},
    "F, attention": {"features": "F"},
    "G, attention": {"features": "G"},
    "contrast": {"contrast_levels": [2, 4]},
    "contrast, pixels": {"contrast_levels": [1, 2, 3], **ROWS["b"]},
}


def make_head(**switches):
    torch.manual_seed(0)
    head = FCPHead(HeadConfig(width=C, tokens=N, heads=2, **switches), CM)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    return head.eval()


def make_inputs(batch=2, shots=2, grid=(H, W), size=32):
    torch.manual_seed(1)
    masks = torch.zeros(batch, shots, size, size)
    for index in range(batch * shots):
        masks.view(-1, size, size)[index, 4 * index % size :, 2 : 20 + index] = 1
    return {
        "support_mid": torch.randn(batch, shots, CM, *grid),
        "support_high": torch.randn(batch, shots, CH, *grid),
        "support_sam": torch.randn(batch, shots, C, *grid),
        "support_mask": masks,
        "query_mid": torch.randn(batch, CM, *grid),
        "query_high": torch.randn(batch, CH, *grid),
        "query_sam": torch.randn(batch, C, *grid),
    }


def pick(inputs, tasks, shots):
    """Return the inputs of some tasks and some shots."""
    return {
        name: maps[tasks][:, shots] if name.startswith("support") else maps[tasks]
        for name, maps in inputs.items()
    }


# --- The naive version: one shot, one query, float64, lists of cells (L, channels). ---


class Naive:
    def __init__(self, head):
        self.weights = {k: v.detach().double().numpy() for k, v in head.state_dict().items()}
        self.config = head.config
        self.names = self.config.features.split("+")
        self.key = "G" if "G" in self.names else "F"
        self.value = "F" if "F" in self.names else "G"
        self.pixel = self.config.matching == "pixel"

    def run(self, support, query, mask):
        """support, query: name → (L, channels); mask (L,) → what the head should give."""
        projected = {n: [self.project(n, x) for x in support[n]] for n in self.names}
        self.means = {
            n: self.mean(projected[n] if n == "F" else support[n], mask) for n in self.names
        }
        self.query = {n: [self.project(n, x) for x in query[n]] for n in self.names}
        both = (support["F"], query["F"])
        self.contrast_of_support, self.contrast_of_query = (
            [self.contrast(x, support["F"], mask) for x in cells] for cells in both
        )
        prior = self.prior(support["high"], query["high"], mask)
        tokens = self.support_tokens(projected, mask)
        match = self.match_pixels if self.pixel else self.match_prototypes
        return {"support": tokens, "prior": prior} | match(tokens[-1], prior)

    def support_tokens(self, projected, mask):
        steps = 1 if self.pixel else self.config.steps
        keep = [self.pixel or m > 0 for m in mask]
        tokens, found = self.weights["support.tokens"], []
        for t in range(steps):
            keys = self.guide_all(self.key, projected, mask)
            values = self.guide_all(self.value, projected, mask) if t == steps - 1 else keys
            tokens, _ = self.attend(f"support.layers.{t}.", tokens, keys, values, keep)
            found.append(tokens)
        return found

    def match_pixels(self, tokens, prior):
        asking = self.self_attend("matching.support_attention.", tokens)
        pixels = self.guide_all(self.key, self.query, prior)
        matched, shown = self.attend("matching.cross_attention.", asking, pixels, pixels)
        prompts = self.self_attend("matching.self_attention.", matched)
        return {"prompts": prompts, "maps": [shown], "masks": [], "query": []}

    def match_prototypes(self, tokens, prior):
        answers, pseudo = self.weights["query.tokens"], prior
        found = {"query": [], "maps": [], "masks": []}
        for t in range(self.config.steps):
            last = t == self.config.steps - 1
            key_mask = pseudo if self.config.refresh_guidance else prior
            keys = values = self.guide_all(self.key, self.query, key_mask)
            if last and self.value != self.key:
                values = self.guide_all(self.value, self.query, pseudo)
            answers, shown = self.attend(f"query.layers.{t}.", answers, keys, values)
            found["query"].append(answers)
            found["maps"].append(shown)
            if not last and self.config.pseudo_mask == "attention":
                pseudo = self.attention_mask(shown)
                found["masks"].append(pseudo)
        matched, _ = self.mha("matching.cross_attention.", tokens, answers, answers)
        return found | {"prompts": self.self_attend("matching.self_attention.", matched)}

    def guide_all(self, name, cells, mask):
        own = self.contrast_of_query if cells is self.query else self.contrast_of_support
        told = zip(cells[name], mask, own, strict=True)
        return np.array([self.guide(name, x, self.means[name], [m, *d]) for x, m, d in told])

    def contrast(self, cell, support, mask):
        """Cosine similarity to the support's foreground and background, level by level."""
        ends = np.cumsum([0, *self.config.contrast_levels])
        found = []
        for level in map(slice, ends[:-1], ends[1:]):
            units = [x[level] / np.linalg.norm(x[level]) for x in support]
            for side in (1, 0):
                mean = sum(u for u, m in zip(units, mask, strict=True) if m == side)
                length = np.linalg.norm(mean) * np.linalg.norm(cell[level])
                found.append(mean @ cell[level] / length if np.any(mean) else 0.0)
        return found

    def project(self, name, cell):
        return np.maximum(self.weights[f"features.{name}.project.0.weight"] @ cell, 0)

    def guide(self, name, cell, mean, maps):
        stacked = np.concatenate([cell, mean, 10 * np.array(maps)])
        return np.maximum(self.weights[f"features.{name}.merge.weight"] @ stacked, 0)

    @staticmethod
    def mean(cells, mask):
        return sum(x * m for x, m in zip(cells, mask, strict=True)) / (sum(mask) + 5e-4)

    @staticmethod
    def prior(support, query, mask):
        def cosine(a, b):
            return a @ b / ((np.linalg.norm(a) + 1e-7) * (np.linalg.norm(b) + 1e-7))

        inside = [s for s, m in zip(support, mask, strict=True) if m]
        return np.array([max(0.0, *(cosine(s, q) for s in inside)) for q in query])

    @staticmethod
    def attention_mask(maps):
        stretched = [(m - m.min()) / (m.max() - m.min() + 1e-9) for m in maps]
        return np.max(stretched, axis=0)

    @staticmethod
    def position(cells):
        half = C // 2
        code = np.zeros((cells, C))
        for cell in range(cells):
            for c in range(C):
                at, length = divmod(cell % (H * W), W)[c >= half] + 1, H if c < half else W
                angle = 2 * math.pi * at / (length + 1e-6) / 10000 ** (2 * (c % half // 2) / half)
                code[cell, c] = math.cos(angle) if c % 2 else math.sin(angle)
        return code

    def attend(self, name, tokens, keys, values, keep=None):
        return self.mha(name, tokens, keys + self.position(len(keys)), values, keep)

    def self_attend(self, name, tokens):
        return self.mha(name, tokens, tokens, tokens)[0]

    def mha(self, name, tokens, keys, values, keep=None):
        w = {k.removeprefix(name): v for k, v in self.weights.items() if k.startswith(name)}
        keep = np.ones(len(keys), bool) if keep is None else np.array(keep)
        asked, offered, given = (
            x @ w["in_proj_weight"][i * C : (i + 1) * C].T + w["in_proj_bias"][i * C : (i + 1) * C]
            for i, x in enumerate((tokens, keys, values))
        )
        heads, size = self.config.heads, C // self.config.heads
        answers, maps = np.zeros((len(tokens), C)), np.zeros((len(tokens), len(keys)))
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for n in range(len(tokens)):
                scores = [asked[n, part] @ k[part] / math.sqrt(size) for k in offered]
                powers = np.where(keep, np.exp(np.array(scores) - max(scores)), 0)
                attention = powers / powers.sum()
                answers[n, part] = sum(a * v[part] for a, v in zip(attention, given, strict=True))
                maps[n] += attention / heads
        updated = tokens + answers @ w["out_proj.weight"].T + w["out_proj.bias"]
        centred = updated - updated.mean(1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
        return normed * w["norm.weight"] + w["norm.bias"], maps


def cells(maps):
    return maps.double().flatten(1).T.numpy()


def run_naive(head, inputs, task, shots):
    """Run the naive version on a task; the cells of several shots make one list."""
    names = {"F": "mid", "G": "sam", "high": "high"}
    support = {
        n: np.concatenate([cells(inputs[f"support_{raw}"][task, k]) for k in shots])
        for n, raw in names.items()
    }
    query = {n: cells(inputs[f"query_{raw}"][task]) for n, raw in names.items()}
    masks = inputs["support_mask"][task, shots, ::8, ::8].flatten().double().numpy()
    return Naive(head).run(support, query, masks)


def check_equal(found, at, expected):
    """Compare what the head gives for one task and shot with the naive version."""
    close(found.prompts[at], expected["prompts"])
    close(found.conventional_mask[at].flatten(), expected["prior"])
    close(found.query_attention[at], np.stack(expected["maps"]))
    steps = zip(found.support_prototypes, expected["support"], strict=True)
    steps = [*steps, *zip(found.query_prototypes, expected["query"], strict=True)]
    for ours, theirs in steps:
        close(ours[at], theirs)
    masks = found.attention_masks[at].flatten(1)
    assert len(masks) == len(expected["masks"])
    for ours, theirs in zip(masks, expected["masks"], strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("name", SWITCHES)
def test_equals_the_naive_version(name):
    head, inputs = make_head(**SWITCHES[name]), make_inputs()
    found = run_head(head, **inputs)
    for b in range(2):
        for k in range(2):
            check_equal(found, (b, k), run_naive(head, inputs, b, [k]))


@pytest.mark.parametrize("name", SWITCHES)
def test_pooled_examples_are_one_with_the_cells_of_all(name):
    head, inputs = make_head(**SWITCHES[name]), make_inputs(shots=3)
    found = run_head(head, **inputs, pooled=True)
    for b in range(2):
        check_equal(found, (b, 0), run_naive(head, inputs, b, [0, 1, 2]))
    assert found.support_attention.shape[:2] == (2, 3)
    sums = found.support_attention.sum((1, -1))
    torch.testing.assert_close(sums, torch.ones_like(sums))
    outside = inputs["support_mask"][:, :, None, None, ::8, ::8].flatten(4) == 0
    if not name.endswith("pixels") and name not in "ab":
        assert (found.support_attention * outside == 0).all()


def close(found, expected):
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("name", ROWS)
def test_batched_is_single(name):
    head, inputs = make_head(**ROWS[name]), make_inputs(batch=3, shots=2)
    together = run_head(head, **inputs)
    for b in range(3):
        alone = run_head(head, **pick(inputs, [b], slice(None)))
        torch.testing.assert_close(together.prompts[b], alone.prompts[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            together.support_attention[b], alone.support_attention[0], atol=1e-6, rtol=1e-4
        )


def test_each_shot_is_on_its_own():
    head, inputs = make_head(), make_inputs(batch=2, shots=3)
    together = run_head(head, **inputs)
    for k in range(3):
        alone = run_head(head, **pick(inputs, slice(None), [k]))
        torch.testing.assert_close(together.prompts[:, [k]], alone.prompts, atol=1e-5, rtol=1e-4)
    swapped = run_head(head, **pick(inputs, slice(None), [2, 0, 1]))
    torch.testing.assert_close(swapped.prompts, together.prompts[:, [2, 0, 1]])


def test_one_shot_may_come_without_its_axis():
    head, inputs = make_head(), make_inputs(batch=2, shots=1)
    flat = {n: x[:, 0] if n.startswith("support") else x for n, x in inputs.items()}
    assert torch.equal(run_head(head, **flat).prompts, run_head(head, **inputs).prompts)


@pytest.mark.parametrize("name", ROWS)
def test_support_maps_cover_the_foreground_only(name):
    head, inputs = make_head(**ROWS[name]), make_inputs()
    attention = run_head(head, **inputs).support_attention
    assert attention.shape[3:] == (N, H * W)
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))
    outside = inputs["support_mask"][:, :, None, None, ::8, ::8].flatten(4) == 0
    if name not in "ab":
        assert (attention * outside == 0).all()
    else:
        assert (attention > 0).all()


def test_maps_only_on_request():
    quiet = run_head(make_head(), **make_inputs(), with_maps=False)
    assert quiet.support_attention is None
    assert quiet.query_attention is None
    assert quiet.attention_masks.shape == (2, 2, 2, H, W)


@pytest.mark.parametrize("grid", [(3, 5), (1, 7), (8, 2)])
def test_any_grid(grid):
    head, inputs = make_head(), make_inputs(grid=grid)
    found = run_head(head, **inputs)
    assert found.conventional_mask.shape == (2, 2, *grid)
    assert found.prompts.isfinite().all()


def test_features_of_another_grid_are_brought_to_sams():
    inputs = make_inputs()
    inputs["query_sam"] = torch.randn(2, C, 6, 5)
    inputs["support_sam"] = torch.randn(2, 2, C, 6, 5)
    found = run_head(make_head(), **inputs)
    assert found.conventional_mask.shape == (2, 2, 6, 5)


@pytest.mark.parametrize("name", [*ROWS, "contrast"])
def test_vanishing_mask_stays_finite(name):
    head, inputs = make_head(**SWITCHES[name]), make_inputs()
    inputs["support_mask"][0, 0] = 0
    inputs["support_mask"][0, 0, 5, 5] = 1
    head.train()
    found = run_head(head, **inputs)
    found.prompts.sum().backward()
    assert found.prompts.isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_contrast_stays_finite_where_nothing_is_background_or_cells_are_zero():
    head, inputs = make_head(contrast_levels=[2, 4]), make_inputs()
    inputs["support_mask"][0, 0] = 1
    inputs["support_mid"][0, 1] = 0
    found = run_head(head.train(), **inputs)
    found.prompts.sum().backward()
    assert found.prompts.isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_contrast_levels_that_are_not_the_backbones_are_refused():
    with pytest.raises(FcpError, match=r"contrast_levels: \[2, 3\] sum to 5, .* has 6 channels"):
        make_head(contrast_levels=[2, 3])


def test_empty_mask_is_an_error_that_names_it():
    inputs = make_inputs()
    inputs["support_mask"][1, 0] = 0
    with pytest.raises(FcpError, match=r"support_masks\[1, 0\]: the mask is empty"):
        run_head(make_head(), **inputs)


@pytest.mark.parametrize("after", [False, True])
def test_where_dropout_shows(after):
    """Released: the maps and pseudo masks are punched; ours: only what gathers values is."""
    head, inputs = make_head(maps_after_dropout=after, attention_dropout=0.5), make_inputs()
    calm = run_head(head, **inputs)
    torch.manual_seed(5)
    shaken = run_head(head.train(), **inputs)
    assert not torch.equal(calm.prompts, shaken.prompts)
    whole = torch.allclose(shaken.query_attention.sum(-1), torch.ones(2, 2, 3, N), atol=1e-5)
    assert whole != after


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
@pytest.mark.parametrize("name", ["a", "f"])
def test_half_precision_agrees(dtype, bound, name):
    """Prompts are layer-normed (deviation 1), pseudo masks lie in 0 … 1."""
    head, inputs = make_head(**ROWS[name]), make_inputs()
    exact = run_head(head, **inputs)
    with torch.autocast("cpu", dtype=dtype):
        rough = run_head(head, **inputs)
    assert (rough.prompts - exact.prompts).abs().max() < bound
    assert (rough.conventional_mask - exact.conventional_mask).abs().max() < bound / 4
    if exact.attention_masks.numel():
        assert (rough.attention_masks - exact.attention_masks).abs().max() < bound


def test_sizes_follow_the_configuration():
    head = FCPHead(HeadConfig(width=16, tokens=7, steps=4, heads=8), CM)
    assert head.support.tokens.shape == (7, 16)
    assert len(head.query.layers) == 4
