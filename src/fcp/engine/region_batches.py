"""Batches for class-agnostic training: fresh crops, regions of all kinds, and prompts for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fcp.config import IGNORE
from fcp.data.augment import draw_quadrilateral, jitter_colour, paste
from fcp.data.region_store import RegionPicture
from fcp.data.regions import draw_label_regions, draw_tree_regions, tight_box
from fcp.data.strips import resize_nearest
from fcp.engine.share import Share

PromptKind = Literal["point", "points", "box", "mask", "box+mask"]
# Shares of the steps; coarse masks resemble the attention-based pseudo mask.
_KIND_SHARES = (0.10, 0.10, 0.33, 0.35, 0.12)
_CORRECTION_SHARE = 0.2  # share of the steps with a second round of points where the first erred
_LABEL_SHARE = 0.7  # share of the regions that people drew; the rest come from the hierarchy
_LEAST_AREA = 0.003  # least share of the crop that a region covers
_PASTE_SHARE = 0.3  # share of the pictures that get an object from another picture
_POINTS = 5
_STRIDE = 2  # stride of the targets: the decoder's logits have half the picture's side
_EMBEDDING_STRIDE = 4  # stride of the embedding's grid, in cells of the targets

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


class RegionBatches(Dataset[dict[str, Tensor | str | bool]]):
    """Share of a step → pictures with regions and prompts, drawn from (seed, step, position) alone.

    A share holds ``images`` (B, 3, S, S) in 0 … 1; ``targets`` and ``valid`` (B·M, S/2, S/2);
    ``kind``, the prompt kind of the whole step; ``correct``, whether the step gets a second round;
    ``points`` (B·M, P, 2) and ``boxes`` (B·M, 4) as
    fractions; ``point_labels`` (B·M, P), -1 padding; ``coarse`` (B·M, 1, g, g) mask logits.

    Args:
        pictures: Prepared pictures, kept in memory.
        batch: Number of pictures of a step, over all of its parts; a share holds B of them.
        masks: Number of regions of a picture M.
        image_size: Side of the square pictures S, px.
        seed: Seed of crops, regions and prompts.
    """

    def __init__(
        self,
        pictures: Sequence[RegionPicture],
        *,
        batch: int,
        masks: int,
        image_size: int,
        seed: int,
    ) -> None:
        self._pictures = pictures
        self.samples_per_epoch = len(pictures)
        weights = np.array([picture.weight for picture in pictures])
        self._chance = weights / weights.sum()
        self._batch, self._masks, self._size, self._seed = batch, masks, image_size, seed

    def __getitem__(self, share: Share) -> dict[str, Tensor | str | bool]:
        """Draw one part of a step's batch."""
        step = np.random.default_rng((self._seed, share.step))
        kind = str(step.choice(get_args(PromptKind), p=_KIND_SHARES))
        samples = [self._sample(share.step, at, kind) for at in share.positions(self._batch)]
        images = torch.stack([image for image, _ in samples])
        prompted = {name: torch.cat([s[name] for _, s in samples]) for name in samples[0][1]}
        # Drawn for the whole step, as the kind is: all processes must run the same modules.
        correct = bool(step.random() < _CORRECTION_SHARE)
        return {"images": images, "kind": kind, "correct": correct, **prompted}

    def _sample(self, step: int, position: int, kind: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a picture (3, S, S) and the batch's other entries for its M regions."""
        # numpy takes (seed, step, 0) for (seed, step), which draws the kind.
        rng = np.random.default_rng((self._seed, step, position + 1))
        drawn = self._try_sample(rng)
        while drawn is None:
            drawn = self._try_sample(rng)
        pixels, masks, valid = drawn
        prompts = [draw_prompts(mask, kind, rng) for mask in masks]
        return pixels, {
            "targets": torch.from_numpy(masks.astype(np.float32)),
            "valid": torch.from_numpy(valid.astype(np.float32)),
            **{name: torch.from_numpy(np.stack([p[name] for p in prompts])) for name in prompts[0]},
        }

    def _try_sample(self, rng: np.random.Generator) -> tuple[Tensor, Mask, Mask] | None:
        """Return a view, M regions and their known pixels; None if the view shows no region."""
        picture = self._draw_picture(rng)
        crop = draw_crop(picture.image.shape[:2], rng)
        pixels = self._pixels(picture, crop)
        regions, known = self._draw_regions(picture, crop, rng)
        if rng.random() < _PASTE_SHARE:
            pasted, foreign = self._draw_pasted(rng)
            pixels = paste(pixels, foreign, pasted)
            regions = [region & ~pasted for region in regions] + [pasted]
            known = [mask | pasted for mask in known] + [np.ones_like(pasted)]
        usable = [i for i, region in enumerate(regions) if region.mean() > _LEAST_AREA]
        if not usable:
            return None
        order = rng.choice(usable, self._masks, replace=len(usable) < self._masks)
        turn = -1 if rng.random() < 0.5 else 1
        view = jitter_colour(pixels.flip(-1) if turn < 0 else pixels, rng)
        masks = np.stack([regions[i] for i in order])[..., ::turn]
        return view, masks, np.stack([known[i] for i in order])[..., ::turn]

    def _draw_regions(
        self, picture: RegionPicture, crop: tuple[slice, slice], rng: np.random.Generator
    ) -> tuple[list[Mask], list[Mask]]:
        """Return masks and, for each, the pixels whose label is known."""
        side = self._size // _STRIDE
        from_labels = rng.binomial(self._masks, _LABEL_SHARE)
        labels = resize_nearest(
            picture.labels[rng.integers(len(picture.labels))][crop], (side, side)
        )
        drawn = draw_label_regions(labels, rng, from_labels, background=picture.background)
        leaves = resize_nearest(picture.tree.leaves[crop], (side, side))
        grown = draw_tree_regions(picture.tree, leaves, rng, self._masks - len(drawn))
        known = labels != IGNORE if IGNORE in picture.background else np.ones_like(labels, bool)
        everywhere = np.ones((side, side), dtype=bool)
        return drawn + grown, [known] * len(drawn) + [everywhere] * len(grown)

    def _draw_picture(self, rng: np.random.Generator) -> RegionPicture:
        return self._pictures[int(rng.choice(len(self._pictures), p=self._chance))]

    def _draw_pasted(self, rng: np.random.Generator) -> tuple[Mask, Tensor]:
        """Return a shape (S/2, S/2) to paste and the pixels (3, S, S) it is cut from.

        Half of the shapes are regions that people drew. Half are quadrilaterals cut out of a
        picture: their inside has edges other than their outline, as screens, vehicles and boxes
        have.
        """
        donor = self._draw_picture(rng)
        crop = draw_crop(donor.image.shape[:2], rng)
        side = self._size // _STRIDE
        shapes: list[Mask] = []
        if rng.random() < 0.5:
            labels = resize_nearest(
                donor.labels[rng.integers(len(donor.labels))][crop], (side, side)
            )
            shapes = draw_label_regions(labels, rng, 1, background=donor.background)
        shape = shapes[0] if shapes and shapes[0].mean() < 0.5 else draw_quadrilateral(side, rng)
        return shape, self._pixels(donor, crop)

    def _pixels(self, picture: RegionPicture, crop: tuple[slice, slice]) -> Tensor:
        """Return a crop as (3, S, S) in 0 … 1."""
        pixels = torch.from_numpy(picture.image[crop].copy()).permute(2, 0, 1)[None].float() / 255
        size = (self._size, self._size)
        return F.interpolate(pixels, size, mode="bilinear", antialias=True)[0]


def draw_crop(size: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw a crop of 30 … 100 % of the area whose sides differ in scale by at most 4/3."""
    area, stretch = rng.uniform(0.3, 1.0), np.exp(rng.uniform(-0.29, 0.29))
    height = min(size[0], round(size[0] * np.sqrt(area) * stretch))
    width = min(size[1], round(size[1] * np.sqrt(area) / stretch))
    top, left = rng.integers(size[0] - height + 1), rng.integers(size[1] - width + 1)
    return slice(top, top + height), slice(left, left + width)


def draw_prompts(mask: Mask, kind: str, rng: np.random.Generator) -> dict[str, Array]:
    """Draw prompts as a person or the FCP head might give them for a region.

    Args:
        mask: Boolean mask of the region (h, w), not empty.
        kind: Kind of prompt, one of ``PromptKind``.
        rng: Source of the draw.

    Returns:
        ``points``, ``point_labels``, ``boxes`` and ``coarse`` of the batch, for one region.
    """
    points = np.zeros((_POINTS, 2), dtype=np.float32)
    labels = np.full(_POINTS, -1, dtype=np.float32)
    if kind in ("point", "points"):
        inside = 1 if kind == "point" else int(rng.integers(2, _POINTS))
        outside = 0 if kind == "point" else _POINTS - inside
        points[:inside] = draw_points(mask, inside, rng)
        labels[:inside] = 1
        if outside and not mask.all():
            points[inside:] = draw_points(~mask, outside, rng)
            labels[inside:] = 0
    return {
        "points": points,
        "point_labels": labels,
        "boxes": jittered_box(mask, rng),
        "coarse": coarse_mask(mask, rng),
    }


def draw_points(mask: Mask, count: int, rng: np.random.Generator) -> Array:
    """Draw pixel centres of a mask as x, y fractions: (count, 2)."""
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(len(rows), size=count)
    height, width = mask.shape
    x, y = (columns[chosen] + 0.5) / width, (rows[chosen] + 0.5) / height
    return np.stack([x, y], axis=1).astype(np.float32)


def jittered_box(mask: Mask, rng: np.random.Generator) -> Array:
    """Return x0, y0, x1, y1 as fractions, each moved by up to 5 % of the box's side."""
    x0, y0, x1, y1 = mask_box(mask)
    sides = np.array([x1 - x0, y1 - y0] * 2)
    moved = np.array([x0, y0, x1, y1]) + np.clip(rng.normal(0, 0.03, 4), -0.05, 0.05) * sides
    return moved.clip(0, 1).astype(np.float32)


def mask_box(mask: Mask) -> tuple[float, float, float, float]:
    """Return the tight box of a mask as fractions of width and height."""
    x0, y0, x1, y1 = tight_box(mask)
    height, width = mask.shape
    return x0 / width, y0 / height, x1 / width, y1 / height


def coarse_mask(mask: Mask, rng: np.random.Generator) -> Array:
    """Blur, weaken and disturb a mask until it looks like a pseudo mask: (1, g, g) logits.

    The grid is that of the embedding (a quarter of the mask's side) or half as fine. The blur is at
    most 2 of its cells. Smooth noise adds false parts and holes, which an attention-based pseudo
    mask has too.
    """
    grid = mask.shape[0] // _EMBEDDING_STRIDE
    repeat = int(rng.choice((2, 1)))
    side, zoom = grid // repeat, _EMBEDDING_STRIDE * repeat
    soft = mask[: side * zoom, : side * zoom].reshape(side, zoom, side, zoom).mean((1, 3))
    soft = scipy.ndimage.gaussian_filter(soft, rng.uniform(0, 2) / repeat)
    noise = scipy.ndimage.gaussian_filter(
        rng.normal(size=(side, side)), rng.uniform(0.5, 5) / repeat
    )
    soft = soft + rng.uniform(0, 0.35) * noise / (noise.std() + 1e-6)
    probability = np.clip(soft * rng.uniform(0.6, 1.1), 1e-3, 1 - 1e-3)
    logits = np.log(probability / (1 - probability))[None]
    return logits.repeat(repeat, 1).repeat(repeat, 2).astype(np.float32)
