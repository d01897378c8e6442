"""Sets of pictures that are no photos, drawn with exact masks: nuclei, cracks, tiles, trays.

A set is what somebody might bring: several pictures of one kind, which differ in stain, blur,
light and contrast. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

Drawn = tuple[np.ndarray, np.ndarray]  # picture (H, W, 3) uint8, mask (H, W) bool
FAST = 3.0  # px; smoother noise is drawn small and enlarged


def noise(rng: np.random.Generator, size: tuple[int, int], sigma: float) -> np.ndarray:
    """Draw noise (H, W) of mean 0 and deviation 1, smooth over ``sigma`` px."""
    step = max(1, int(sigma / 1.5)) if sigma > FAST else 1
    small = [-(-side // step) + 2 for side in size]
    drawn = gaussian_filter(rng.normal(size=small), sigma / step, mode="wrap")
    if step > 1:
        drawn = zoom(drawn, step, order=1)
    drawn = drawn[: size[0], : size[1]]
    return (drawn - drawn.mean()) / (drawn.std() + 1e-9)


def nuclei(seed: int, count: int) -> list[Drawn]:
    """Draw blobs under a microscope: fluorescence, two stains, or bright field."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["fluorescence", "fluorescence", "stained", "bright"])
    size = [(256, 256), (256, 320), (360, 360), (520, 696)][rng.integers(4)]
    radius = rng.uniform(6, 16) * max(size) / 384
    tint, contrast, grain = rng.random(3), rng.uniform(0.1, 0.7), rng.uniform(0.01, 0.08)
    blur, slope, touching = rng.uniform(0.4, 2), rng.uniform(0, 0.25), rng.uniform(0, 0.6)
    varies = rng.uniform(0, 0.5)
    drawn = []
    for _ in range(count):
        here = radius * np.exp(rng.normal() * 0.12)
        mask, body = _blobs(rng, size, int(rng.integers(6, 70)), here, touching)
        strength = contrast * np.exp(rng.normal() * varies)
        light = noise(rng, size, max(size) / 4) * slope
        body = body * (1 + 0.15 * noise(rng, size, 4))
        if kind == "fluorescence":
            glow = 0.4 * gaussian_filter(body, 1.5 * here)
            grey = gaussian_filter((body + glow) * strength + 0.06 + 0.15 * light, blur)
            picture = np.repeat(grey[..., None], 3, 2)
        elif kind == "stained":
            flesh = np.clip(0.5 + 0.5 * noise(rng, size, 12), 0, 1)[..., None]
            dye = gaussian_filter(np.where(mask, 0.3 + 0.6 * body, 0), blur)[..., None]
            absorbed = dye * strength * 3 * [0.55, 0.65, 0.35] + flesh * [0.12, 0.35, 0.15] * (
                0.6 + tint
            )
            picture = (np.array([0.92, 0.78, 0.88]) - 0.1 * tint) * np.exp(-absorbed)
            picture = picture * (1 + 0.3 * light)[..., None]
        else:
            grey = 0.65 + 0.4 * light + 0.1 * noise(rng, size, 10) - body * strength
            picture = gaussian_filter(grey, blur)[..., None] * (0.8 + 0.2 * tint)
        drawn.append((_finish(rng, picture, grain), mask))
    return drawn


def cracks(seed: int, count: int) -> list[Drawn]:
    """Draw thin dark walks over a rough surface with stains and pebbles."""
    rng = np.random.default_rng(seed)
    size = [(320, 480), (384, 544), (256, 256), (448, 448)][rng.integers(4)]
    tone, depth, rough = rng.uniform(0.35, 0.7), rng.uniform(0.08, 0.35), rng.uniform(0.03, 0.12)
    tint, fine = 1 + rng.normal(size=3) * 0.04, rng.uniform(0.25, 0.75)
    drawn = []
    for _ in range(count):
        cover = _walks(rng, size)
        grains = (
            fine * noise(rng, size, 0.7) + 0.5 * noise(rng, size, 1.5) + 0.35 * noise(rng, size, 4)
        )
        grey = tone + rough * grains + 0.07 * rng.random() * noise(rng, size, max(size) / 4)
        for _ in range(rng.integers(0, 6)):
            grey -= rng.uniform(0, 0.15) * (noise(rng, size, rng.uniform(5, 40)) > 1.5)
        grey += 0.12 * (noise(rng, size, 1) > 2.3) - 0.12 * (noise(rng, size, 1.2) > 2.4)
        uneven = np.clip(1 + 0.4 * noise(rng, size, 8), 0.2, 2)
        grey = gaussian_filter(grey - gaussian_filter(cover, 0.6) * depth * uneven, 0.5)
        drawn.append((_finish(rng, grey[..., None] * tint, 0.01), cover > 0.5))
    return drawn


def tiles(seed: int, count: int) -> list[Drawn]:
    """Draw a speckled surface with one defect: a stain, a rough patch, a bright or dark film."""
    rng = np.random.default_rng(seed)
    side = int(rng.choice([420, 640, 840]))
    size, kind = (side, side), rng.choice(["stain", "rough", "bright", "dark"])
    colours, scale = rng.uniform(0.2, 0.9, (2, 3)), rng.uniform(1, 4) * side / 420
    if rng.random() < 0.6:
        colours = np.repeat(colours.mean(1, keepdims=True), 3, 1)
    stain, strength = rng.uniform(0.3, 0.9, 3), rng.uniform(0.25, 0.9)
    y, x = np.mgrid[:side, :side]
    drawn = []
    for _ in range(count):
        spots = gaussian_filter((noise(rng, size, scale) > rng.uniform(0.3, 0.6)) * 1.0, 0.8)[
            ..., None
        ]
        picture = np.where(spots > 0.5, *colours) + 0.03 * noise(rng, size, side / 5)[..., None]
        centre, radius = rng.uniform(0.25, 0.75, 2) * side, rng.uniform(0.06, 0.22) * side
        away = np.hypot(y - centre[0], (x - centre[1]) * rng.uniform(0.6, 1.6))
        away += noise(rng, size, side / 20) * radius * 0.25
        changed = {
            "stain": picture * (1 - strength) + strength * stain,
            "rough": picture + 0.15 * noise(rng, size, 1.5)[..., None] + 0.1 * strength,
            "bright": picture * (1 - 0.6 * strength) + 0.5 * strength,
            "dark": picture * (1 - 0.5 * strength),
        }[str(kind)]
        soft = np.clip((radius - away) / 4, 0, 1)[..., None]
        picture = picture * (1 - soft) + changed * soft
        drawn.append((_finish(rng, picture, 0.02), away < radius))
    return drawn


def trays(seed: int, count: int) -> list[Drawn]:
    """Draw round food on plates: one kind is looked for among three others of five."""
    rng = np.random.default_rng(seed)
    size = (360, 480)
    looks = [
        (rng.uniform(0.1, 0.95, 3), rng.uniform(0.02, 0.25), rng.uniform(1, 5)) for _ in range(6)
    ]
    y, x = np.mgrid[: size[0], : size[1]]
    tray = rng.uniform(0.3, 0.8, 3)
    drawn = []
    for _ in range(count):
        picture = np.ones((*size, 3)) * tray * rng.uniform(0.8, 1.1)
        mask = np.zeros(size, bool)
        served = rng.permutation([0, *rng.choice(np.arange(1, 6), 3, replace=False)])
        for place, which in enumerate(served):
            row, column = divmod(place, 2)
            top = size[0] * (0.28 + 0.46 * row) + rng.normal() * 12
            left = size[1] * (0.27 + 0.46 * column) + rng.normal() * 15
            away = np.hypot(y - top, x - left)
            picture[away < 85] = 0.9
            colour, texture, scale = looks[which]
            radius = rng.uniform(38, 66)
            away = away + noise(rng, size, 12) * radius * 0.08
            item = away < radius
            shade = (1 - 0.35 * (away / radius) ** 3) * (1 + texture * noise(rng, size, scale))
            picture[item] = (colour * (1 + 0.08 * rng.normal(size=3)) * shade[..., None])[item]
            mask = mask | item if which == 0 else mask & ~item
        light = 1 + 0.15 * noise(rng, size, 150)[..., None]
        drawn.append((_finish(rng, gaussian_filter(picture, (0.8, 0.8, 0)) * light, 0.015), mask))
    return drawn


SETS: dict[str, Callable[[int, int], list[Drawn]]] = {
    "nuclei": nuclei,
    "cracks": cracks,
    "tiles": tiles,
    "trays": trays,
}


def _finish(rng: np.random.Generator, picture: np.ndarray, grain: float) -> np.ndarray:
    noisy = picture + rng.normal(size=picture.shape) * grain
    return (np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def _blobs(
    rng: np.random.Generator, size: tuple[int, int], count: int, radius: float, touching: float
) -> Drawn:
    """Draw wobbly ellipses, some beside others: their mask, and how bright each is (H, W)."""
    y, x = np.mgrid[: size[0], : size[1]]
    mask, body = np.zeros(size, bool), np.zeros(size)
    for _ in range(count):
        centre = rng.random(2) * size
        if mask.any() and rng.random() < touching:
            places = np.argwhere(mask)
            centre = places[rng.integers(len(places))] + rng.normal(size=2) * 1.3 * radius
        longer = radius * np.exp(rng.normal() * 0.2)
        turn, shorter = rng.random() * np.pi, longer * rng.uniform(0.55, 1)
        dy, dx = y - centre[0], x - centre[1]
        u = (dx * np.cos(turn) + dy * np.sin(turn)) / longer
        v = (dy * np.cos(turn) - dx * np.sin(turn)) / shorter
        away = np.hypot(u, v) / (1 + 0.08 * np.sin(2 * np.arctan2(v, u) + rng.random() * 6))
        bright = rng.uniform(0.6, 1.2) * (1 - 0.35 * away**2)
        body = np.where(away < 1, np.maximum(body, bright), body)
        mask |= away < 1
    return mask, body


def _walks(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Draw one to three lines of changing width as covered shares (H, W) of the pixels."""
    canvas = np.zeros((2 * size[0], 2 * size[1]))
    for _ in range(rng.integers(1, 4)):
        angle, width = rng.random() * 2 * np.pi, rng.uniform(0.8, 3.2)
        place = rng.uniform(0.2, 0.8, 2) * size
        for _ in range(int(rng.uniform(0.4, 1.6) * max(size))):
            angle += rng.normal() * 0.18
            place = np.clip(place + np.array([np.sin(angle), np.cos(angle)]), 5, np.array(size) - 6)
            width = np.clip(width + rng.normal() * 0.12, 0.6, 4.5)
            top, left = (2 * place - width).astype(int)
            side = int(2 * width) + 2
            y, x = np.ogrid[top : top + side, left : left + side]
            dot = np.hypot(y - 2 * place[0], x - 2 * place[1]) <= width
            canvas[top : top + side, left : left + side] += dot
    return np.minimum(canvas, 1).reshape(size[0], 2, size[1], 2).mean((1, 3))
