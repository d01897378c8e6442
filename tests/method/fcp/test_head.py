"""The heads against the equations as they stand in the paper, ``benchmarks/plain_head.py``."""

import pytest
import torch
from plain_head import Maps, PlainHead

from fcp.config import HeadConfig
from fcp.errors import FcpError
from fcp.method.fcp.heads import build_head, run_head

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
    head = build_head(HeadConfig(width=C, tokens=N, heads=2, **switches), CM)
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


def run_plain(head, inputs, task, shots):
    """Run the plain version in float64; the cells of several shots make one list."""
    weights = {name: value.double() for name, value in head.state_dict().items()}

    def maps(part, *places):
        cells = [
            torch.cat([inputs[f"{part}_{raw}"][place].double().flatten(1).T for place in places])
            for raw in ("mid", "sam", "high")
        ]
        return Maps(*cells)

    support = maps("support", *((task, shot) for shot in shots))
    mask = inputs["support_mask"][task, shots, ::8, ::8].flatten().double()
    return PlainHead(weights, head.config, (H, W)).pair(support, maps("query", task), mask)


def check_equal(found, at, expected):
    """Compare what the head gives for one task and shot with the plain version."""
    close(found.prompts[at], expected.prompts)
    close(found.conventional_mask[at].flatten(), expected.prior)
    close(found.query_attention[at], torch.stack(expected.attention))
    steps = zip(found.support_prototypes, expected.support, strict=True)
    steps = [*steps, *zip(found.query_prototypes, expected.query, strict=True)]
    for ours, theirs in steps:
        close(ours[at], theirs)
    masks = found.attention_masks[at].flatten(1)
    assert len(masks) == len(expected.masks)
    for ours, theirs in zip(masks, expected.masks, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("name", SWITCHES)
def test_equals_the_plain_version(name):
    head, inputs = make_head(**SWITCHES[name]), make_inputs()
    found = run_head(head, **inputs)
    for b in range(2):
        for k in range(2):
            check_equal(found, (b, k), run_plain(head, inputs, b, [k]))


@pytest.mark.parametrize("name", SWITCHES)
def test_pooled_examples_are_one_with_the_cells_of_all(name):
    head, inputs = make_head(**SWITCHES[name]), make_inputs(shots=3)
    found = run_head(head, **inputs, pooled=True)
    for b in range(2):
        check_equal(found, (b, 0), run_plain(head, inputs, b, [0, 1, 2]))
    assert found.support_attention.shape[:2] == (2, 3)
    sums = found.support_attention.sum((1, -1))
    torch.testing.assert_close(sums, torch.ones_like(sums))
    outside = inputs["support_mask"][:, :, None, None, ::8, ::8].flatten(4) == 0
    if not name.endswith("pixels") and name not in "ab":
        assert (found.support_attention * outside == 0).all()


def close(found, expected):
    torch.testing.assert_close(found.detach().double(), expected, atol=2e-5, rtol=1e-5)


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
    head = build_head(HeadConfig(width=16, tokens=7, steps=4, heads=8), CM)
    assert head.support.tokens.shape == (7, 16)
    assert len(head.query.layers) == 4
