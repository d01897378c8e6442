"""Every method end to end on toy encoders: the doors, batches, shots, what each encodes."""

from __future__ import annotations

import pytest
import torch

from fcp.errors import FcpError
from fcp.method import registry
from fcp.method.gf_sam.gates import gate
from fcp.method.names import DEFAULTS
from fcp.method.persam import model as persam
from fcp.method.persam.weights import fit_weights
from fcp.method.registry import METHODS
from fcp.structures import Episode


@pytest.fixture
def make(toy_cells, toy_segmenter, monkeypatch):
    monkeypatch.setattr(persam, "fit_weights", lambda a, b: fit_weights(a, b, 5))

    def build(name, **options):
        builder = METHODS[name]
        cells = None
        if builder.image_size is not None:
            # GF-SAM's grid is odd as in the paper, so that a cell lies in the very middle.
            size = 126 if name == "gf-sam" else 112
            cells = toy_cells(final_norm=builder.final_norm, image_size=size)
        if name == "matcher":
            pytest.importorskip("ot", reason="needs the extra free")
            options = {"preset": "fss"} | options  # without the 4096 points of "coco"
        if name == "gf-sam":
            options = {"size": 128} | options
        return builder(cells, toy_segmenter if builder.has_segmenter else None, **options)

    return build


def first_task(scenes: Episode) -> Episode:
    return Episode(scenes.support_images[:1], scenes.support_masks[:1], scenes.query_images[:1])


@pytest.mark.parametrize("name", METHODS)
def test_batches_are_single_tasks_side_by_side(make, scenes, name):
    method = make(name)
    together = method(scenes)
    assert together.mask_logits.shape == (2, 72, 96)
    assert together.mask_logits.isfinite().all()
    assert len(together.steps) == 2
    alone = method(first_task(scenes))
    torch.testing.assert_close(alone.mask_logits[0], together.mask_logits[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_one_support_serves_every_query(make, scenes, name):
    method = make(name)
    support = method.encode_support(scenes.support_images[:1], scenes.support_masks[:1])
    both = method.match(support, method.encode_query(scenes.query_images)).mask_logits
    for i in range(2):
        query = method.encode_query(scenes.query_images[i : i + 1])
        torch.testing.assert_close(
            method.match(support, query).mask_logits[0], both[i], atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("matcher", "contrast")])
@pytest.mark.parametrize("released", [True, False])
def test_one_shot_pooled_is_one_shot(make, scenes, name, released):
    scenes = first_task(scenes)
    single = Episode(scenes.support_images[:, :1], scenes.support_masks[:, :1], scenes.query_images)
    paper = make(name, released=released)(single).mask_logits
    pooled = make(name, released=released, shots="pooled")(single).mask_logits
    torch.testing.assert_close(paper, pooled, atol=1e-4, rtol=1e-4)


def test_persam_reads_the_first_example_or_pools(make, scenes):
    scenes = first_task(scenes)
    swapped = Episode(
        scenes.support_images.flip(1), scenes.support_masks.flip(1), scenes.query_images
    )
    paper, pooled = make("persam"), make("persam", shots="pooled")
    assert not torch.allclose(paper(scenes).steps[0].target, paper(swapped).steps[0].target)
    torch.testing.assert_close(pooled(scenes).steps[0].target, pooled(swapped).steps[0].target)


@pytest.mark.parametrize("name", METHODS)
def test_encoders_see_each_picture_once(make, scenes, name):
    method, seen = make(name), []
    for part in ("cells", "segmenter"):
        encoder = getattr(method, part, None)
        if encoder is not None:
            original = encoder.encode
            object.__setattr__(
                encoder,
                "encode",
                lambda x, part=part, run=original: (seen.extend([part] * len(x)), run(x))[1],
            )
    if name == "insid3":
        method.positional_basis()
        seen.clear()
    try:
        method(scenes)
    finally:
        for part in ("cells", "segmenter"):
            if hasattr(method, part):
                object.__delattr__(getattr(method, part), "encode")
    shots = 1 if name.startswith("persam") else 2
    expected = {
        "cells": 2 * 2 + 2,
        "segmenter": 2 if hasattr(method, "cells") else 2 * shots + 2,
    }
    counted = {part: seen.count(part) for part in expected if hasattr(method, part)}
    assert counted == {part: n for part, n in expected.items() if hasattr(method, part)}


@pytest.mark.parametrize("name", ["insid3", "persam", "persam-f", "contrast"])
def test_examples_without_foreground_are_refused(make, scenes, name):
    with pytest.raises(FcpError, match="support masks: no foreground; mark the object"):
        make(name).encode_support(scenes.support_images, 0 * scenes.support_masks)


@pytest.mark.parametrize("name", ["gf-sam", "matcher"])
def test_examples_without_foreground_are_their_centre(make, scenes, name):
    masks = 0 * scenes.support_masks
    centre = make(name).encode_support(scenes.support_images, masks).masks
    assert centre.flatten(2).any(2).all()
    middle = centre.shape[-1] // 2
    assert centre[0, 0, middle, middle] > 0
    assert not centre[0, 0, 0].any()


def test_insid3s_answer_is_its_grid_mask_in_the_picture(make, scenes):
    found = make("insid3")(first_task(scenes))
    grid = found.steps[0].mask.view(1, 1, 8, 8).float()
    frame = torch.nn.functional.interpolate(grid, (112, 112), mode="bilinear") > 0.5
    photo = torch.nn.functional.interpolate(frame.float(), (72, 96), mode="bilinear")[0, 0] > 0.5
    assert torch.equal(found.mask_logits[0] > 0, photo)
    refined = make("insid3", crf=True)(first_task(scenes))
    assert refined.mask_logits.shape == (1, 72, 96)


def test_insid3s_basis_is_of_a_black_picture_or_of_noise(make):
    released, paper = make("insid3", released=True), make("insid3")
    assert released.components == 24 * 500 // 1024
    basis = released.positional_basis()
    assert basis is released.positional_basis()
    assert basis.shape == (24, 11)
    assert not torch.allclose(basis, paper.positional_basis())


def test_gf_sam_answers_the_union_of_chosen_masks(make, scenes):
    task = first_task(scenes)
    in_frame = torch.nn.functional.interpolate(task.query_images, (128, 128))
    method = make("gf-sam")
    found = method(Episode(task.support_images, task.support_masks, in_frame))
    steps = found.steps[0]
    assert len(steps.masks) == len(steps.cells) == len(steps.points) > 1
    assert torch.equal(found.mask_logits[0] > 0, steps.masks[steps.gates.chosen].any(0))
    features = method.encode_query(in_frame).features[0]
    grid = (features.shape[1], features.shape[2])
    whole = gate(steps.masks, steps.cells, features.flatten(1), steps.found, grid)
    for name, value in vars(steps.gates).items():  # found from the pixels that count alone
        torch.testing.assert_close(value, getattr(whole, name))


def test_methods_and_their_default_parts_agree():
    assert set(METHODS) == set(DEFAULTS)
    for name, builder in METHODS.items():
        assert (DEFAULTS[name].backbone is None) == (builder.image_size is None)
        assert (DEFAULTS[name].segmenter is None) == (not builder.has_segmenter)


def test_loading_asks_for_the_parts_first(monkeypatch):
    asked = []

    def refuse(part):
        asked.append(part)
        raise FcpError(f"{part}: not here")

    monkeypatch.setattr(registry, "find_folder", refuse)
    with pytest.raises(FcpError, match="facebook/dinov2-small: not here"):
        registry.load_method("free:gf-sam+dinov2-small")
    assert asked == ["facebook/dinov2-small"]
