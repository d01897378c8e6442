"""Features of a few fixed views of each training photo, on disk as 8-bit numbers.

While the encoders are frozen, encoding a photo anew at each step costs most of the training's time.
Here each photo is encoded a few times in all: whole, and in crops that were flipped and coloured.
The features of these views lie in memory-mapped arrays, which any number of runs share.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fcp.data.archives import require_space
from fcp.data.augment import jitter_colour
from fcp.data.dataset import FewShotDataset
from fcp.data.transforms import mask_to_square, to_square
from fcp.data.views import View, draw_box
from fcp.engine.processes import is_main, loader_workers, processes
from fcp.engine.tracking import Report
from fcp.errors import FcpError
from fcp.features.cache import fingerprint
from fcp.features.frozen import Encoders
from fcp.layers.grid import join_levels
from fcp.method.fcp.model import FCP
from fcp.structures import BackboneFeatures, Embedding
from fcp.system.documents import load_json
from fcp.system.files import make_folder, sha256_of, write_atomically
from fcp.system.locks import hold_folder

INDEX = "index.json"
FORMAT = "fcp-views-2"
LEVEL_STEP = 0.08  # step of the standardised levels: 8 bits reach to 10 standard deviations
STEPS_A_DEVIATION = 1 / 0.065  # of the embedding and the finer maps, whose deviation is measured
_MEASURED = 24  # photos that the deviation is measured on
_TOGETHER = 8  # photos encoded at once

_Place = tuple[int, int, int, int, bool]  # left, top, right, bottom, px; whether mirrored


@dataclass(frozen=True)
class ViewStore:
    """Stored features of views.

    Attributes:
        folder: Folder of the arrays.
    """

    folder: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        """Content of the folder: steps of the 8-bit numbers, and what the views depend on.

        Raises:
            FcpError: there is no index, or it is damaged.
        """
        index = load_json(self.folder / INDEX)
        if index.get("format") != FORMAT:
            raise FcpError(f"{self.folder / INDEX}: no index of views; make them anew")
        return index

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Photo id → its row in all arrays."""
        return {photo: row for row, photo in enumerate(self.index["photos"])}

    @property
    def views(self) -> int:
        """Views of each photo; view 0 is the whole photo."""
        return int(self.index["views"])

    @property
    def steps(self) -> Mapping[str, float]:
        """Name of an array → value of one step of its 8-bit numbers."""
        steps: dict[str, float] = self.index["steps"]
        return steps

    @cached_property
    def _arrays(self) -> dict[tuple[str, int], np.ndarray]:
        return {
            (name, view): np.load(self.folder / f"{name}_{view}.npy", mmap_mode="r")
            for name in self.steps
            for view in range(self.views)
        }

    @cached_property
    def _boxes(self) -> list[np.ndarray]:
        return [np.load(self.folder / f"boxes_{view}.npy") for view in range(self.views)]

    def view(self, photo: str, number: int) -> View:
        """Return one of a photo's views."""
        *box, flip = (int(value) for value in self._boxes[number][self.places[photo]])
        return View((box[0], box[1], box[2], box[3]), bool(flip))

    def read(self, photo: str, number: int, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the 8-bit arrays of a view, (C, h, w) each."""
        row = self.places[photo]
        return {name: torch.from_numpy(self._arrays[name, number][row].copy()) for name in names}

    def __getstate__(self) -> dict[str, object]:
        """Send the folder alone to a loader's process, which maps the arrays itself."""
        return {"folder": self.folder}


BACKBONE = ("fine", "coarse")
SEGMENTER = ("embedding", "finer0", "finer1")


def decode_backbone(
    stored: Mapping[str, Tensor], steps: Mapping[str, float], level_channels: Sequence[int]
) -> BackboneFeatures:
    """Turn stored arrays (S, C, h, w) back into features; stage 4 is that of the whole picture."""
    fine, coarse = (stored[name].float() * steps[name] for name in BACKBONE)
    levels = (fine, *coarse.split(list(level_channels[1:]), 1))
    return BackboneFeatures(mid=join_levels(levels), high=levels[-1], levels=levels)


def decode_embedding(stored: Mapping[str, Tensor], steps: Mapping[str, float]) -> Embedding:
    """Turn stored arrays (S, C, h, w) back into an embedding; a support needs no finer maps."""
    image, *finer = (stored[n].float() * steps[n] for n in SEGMENTER if n in stored)
    return Embedding(image, tuple(finer))


@torch.inference_mode()
def build_views(
    model: FCP,
    photos: Sequence[tuple[FewShotDataset, str]],
    folder: Path,
    *,
    views: int,
    seed: int,
    report: Report,
) -> ViewStore:
    """Encode each photo in each of its views; a folder that holds the same views is kept as it is.

    The main process encodes, and the others wait for it; so does another run that wants the same.

    Args:
        model: Model whose encoders make the features; its backbone gives a fine level and coarse
            ones of one grid.
        photos: Data set and id of each photo.
        folder: Folder of the arrays, made if missing.
        views: Number of views of a photo; the first is the whole photo.
        seed: Seed of crops, mirroring and colours.
        report: Function that takes each line of output.

    Raises:
        FcpError: a photo cannot be read, or the folder holds other views.
    """
    parts = Encoders.of(model)
    facts = {
        "photos": _hash_files(photos),
        "encoders": [
            fingerprint(model.backbone, parts.settings),
            fingerprint(model.segmenter, parts.segmenter_settings),
        ],
        "views": views,
        "seed": seed,
        "image_size": model.config.image_size,
    }
    if is_main() and not (folder / INDEX).exists():
        with hold_folder(folder, waits=True):
            if not (folder / INDEX).exists():  # another run may have made it meanwhile
                _build(model, photos, folder, facts, report)
    processes().wait_for_everyone()
    _refuse_others(folder, facts)
    return ViewStore(folder)


def _hash_files(photos: Sequence[tuple[FewShotDataset, str]]) -> dict[str, str]:
    """Return photo id → hash of its file, and of its masks, by which the crops are drawn.

    Raises:
        FcpError: a file is missing or cannot be read.
    """

    def hash_of(one: tuple[FewShotDataset, str]) -> str:
        data, photo = one
        return hashlib.sha256("".join(map(sha256_of, data.files(photo))).encode()).hexdigest()

    with ThreadPoolExecutor(loader_workers()) as pool:
        return dict(zip((photo for _, photo in photos), pool.map(hash_of, photos), strict=True))


def _refuse_others(folder: Path, facts: Mapping[str, object]) -> None:
    """Refuse stored views that this run would not have made: novel classes may be in them."""
    found = ViewStore(folder).index
    differing = [name for name, value in facts.items() if found.get(name) != value]
    if differing:
        raise FcpError(
            f"{folder}: holds views of another training ({', '.join(differing)} differ); delete "
            "it, or choose an --out in another folder"
        )


def _build(
    model: FCP,
    photos: Sequence[tuple[FewShotDataset, str]],
    folder: Path,
    facts: Mapping[str, Any],
    report: Report,
) -> None:
    """Encode all views and write the index last; ``facts`` say what they depend on."""
    make_folder(folder)
    size, views, seed = (facts[name] for name in ("image_size", "views", "seed"))
    squares = (to_square(data.image(photo), size)[None] for data, photo in photos[:_MEASURED])
    shown = [{name: maps[0] for name, maps in see(model, square).items()} for square in squares]
    steps = {name: _step_of([one[name] for one in shown], name) for name in shown[0]}
    shapes = {name: (len(photos), *value.shape) for name, value in shown[0].items()}
    # On a full disk, writing to a mapped file would end the process without a word.
    require_space(folder, views * sum(prod(shape) for shape in shapes.values()))
    for view in range(views):
        report(f"views: view {view + 1} of {views}")
        arrays = {
            name: np.lib.format.open_memmap(folder / f"{name}_{view}.npy", "w+", np.int8, shape)
            for name, shape in shapes.items()
        }
        draw = partial(_draw, photos, size, (seed, view))
        boxes = np.array(_encode(model, draw, steps, arrays, report), np.int32)
        np.save(folder / f"boxes_{view}.npy", boxes)
    index = {"format": FORMAT, "steps": steps, **facts}
    write_atomically(folder / INDEX, json.dumps(index).encode())


def _encode(
    model: FCP,
    draw: Callable[[int], tuple[Tensor, _Place]],
    steps: Mapping[str, float],
    arrays: Mapping[str, np.ndarray],
    report: Report,
) -> list[_Place]:
    """Write the 8-bit features of one view of all photos; return their boxes and mirroring."""
    count, places = len(arrays[BACKBONE[0]]), []
    with ThreadPoolExecutor(loader_workers()) as pool:
        for first in range(0, count, _TOGETHER):
            rows = range(first, min(first + _TOGETHER, count))
            drawn = list(pool.map(draw, rows))
            places += [place for _, place in drawn]
            for name, maps in see(model, torch.stack([pixels for pixels, _ in drawn])).items():
                stored = (maps / steps[name]).round().clamp(-127, 127).to(torch.int8)
                arrays[name][rows.start : rows.stop] = stored.numpy()
            if first % 512 == 0:
                report(f"views: {rows.stop} of {count} photos")
    return places


def _step_of(maps: Sequence[Tensor], name: str) -> float:
    """Return the step of an array's 8-bit numbers, by the deviation of some of its maps."""
    if name in BACKBONE:
        return LEVEL_STEP
    return float(torch.stack([one.std() for one in maps]).mean() / STEPS_A_DEVIATION)


def see(model: FCP, pixels: Tensor) -> dict[str, Tensor]:
    """Encode pictures (B, 3, S, S) where the model is: name → (B, C, h, w) on the CPU."""
    pixels = pixels.to(next(model.parameters()).device)
    features, embedding = model.backbone(pixels), model.segmenter.encode(pixels)
    fine, *coarse = features.levels
    finer = {f"finer{n}": value for n, value in enumerate(embedding.high_resolution)}
    maps = {"fine": fine, "coarse": torch.cat(coarse, 1), "embedding": embedding.image, **finer}
    return {name: value.float().cpu() for name, value in maps.items()}


def _draw(
    photos: Sequence[tuple[FewShotDataset, str]], size: int, seeds: tuple[int, int], row: int
) -> tuple[Tensor, _Place]:
    """Return a view's pixels (3, S, S), its box and whether it is mirrored.

    Args:
        photos: Data set and id of each photo.
        size: Side S of the square, px.
        seeds: Seed of all views, and number of the view; view 0 is the whole photo.
        row: Number of the photo.
    """
    data, photo = photos[row]
    rng = np.random.default_rng((*seeds, row))
    image = data.image(photo)
    if seeds[1] == 0:
        return to_square(image, size), (0, 0, image.shape[1], image.shape[0], False)
    masks = [data.class_mask(photo, class_id) for class_id in data.pixels(photo)]
    view = View(draw_box(masks, rng), bool(rng.random() < 0.5))
    return jitter_colour(to_square(view.crop(image), size), rng), (*view.box, view.flip)


def crop_mask(store: ViewStore, photo: str, number: int, mask: np.ndarray, size: int) -> Tensor:
    """Bring a mask (H, W) of a photo to one of its views, squashed: (S, S) float, 0 or 1."""
    return mask_to_square(store.view(photo, number).crop(mask), size)
