"""A data root of a few megabytes, for training on a machine that little can be sent to.

Photos of VOC, ``objects`` and BSDS500 with their masks, reduced to training size, in the layouts
that `fcp train` reads; and MobileNetV2 in half precision, which the promptable stage starts from.
The sets get their shares of `small`'s recipe, and the classes of a set as evenly as its photos
allow, until the megabytes are used up.

    python benchmarks/training_pack.py --data-root DATA --mobilenet MOBILENET --out .pack

Terms of use are those of the sets (docs/data.md): such a folder belongs in no repository.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import MobileNetV2Model

from fcp.data.images import read_image
from fcp.data.lists import ClassLists
from fcp.data.mixed import VOC, TaskSource, training_sources
from fcp.data.objects import FOLDER, MANIFEST, Objects
from fcp.data.pascal import PascalVOC
from fcp.data.region_store import LONG_SIDE, bsds_sources
from fcp.encoders.hub import load_model
from fcp.engine.recipe import find_recipe, load_recipe

MOBILENET = "mobilenet_v2"  # folder in the pack
QUALITY = 70  # of JPEG
MEGABYTE = 1_000_000


def evenly(lists: ClassLists) -> Iterator[str]:
    """Yield each listed photo once, always one of the class of which the fewest were yielded."""
    waiting = {c: iter(members) for c, members in lists.members.items()}
    yielded = dict.fromkeys(waiting, 0)
    seen: set[str] = set()
    while waiting:
        rarest = min(waiting, key=lambda c: yielded[c])
        photo = next((p for p in waiting[rarest] if p not in seen), None)
        if photo is None:
            del waiting[rarest]
            continue
        seen.add(photo)
        for c in lists.present[photo]:
            yielded[c] += 1
        yield photo


def by_shares(
    sources: Sequence[TaskSource], shares: Mapping[str, float]
) -> Iterator[tuple[TaskSource, str]]:
    """Yield photos of all sources so that at each moment their numbers are as the shares say.

    A source that has run out leaves its part to the others.
    """
    waiting = {s.name: (s, evenly(s.lists)) for s in sources if shares.get(s.name, 0) > 0}
    taken = dict.fromkeys(waiting, 0)
    while waiting:
        name = min(waiting, key=lambda n: (taken[n] + 1) / shares[n])
        source, photos = waiting[name]
        photo = next(photos, None)
        if photo is None:
            del waiting[name]
            continue
        taken[name] += 1
        yield source, photo


def write_photo(image: np.ndarray, file: Path, side: int) -> tuple[int, int]:
    """Write a photo (H, W, 3) as JPEG, its longer side at most ``side`` px; return (W, H) of it."""
    scale = min(1.0, side / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    file.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    small.save(file, quality=QUALITY, optimize=True, progressive=True)
    return size


def write_labels(labels: np.ndarray, file: Path, size: tuple[int, int]) -> None:
    """Write ids (H, W) as a grey PNG of a size (W, H), by nearest neighbour."""
    file.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    small.save(file, optimize=True)


def pack_photo(source: TaskSource, photo: str, out: Path, side: int) -> int:
    """Write a photo of VOC or ``objects`` and all of its masks; return their bytes."""
    data = source.data
    old, new = data.files(photo), [out / f.relative_to(data.root) for f in data.files(photo)]
    size = write_photo(data.image(photo), new[0], side)
    for before, after in zip(old[1:], new[1:], strict=True):
        if isinstance(data, PascalVOC):
            labels = data.labels(photo)
        else:
            kind = next(c for c in data.pixels(photo) if data.mask_path(photo, c) == before)
            labels = 255 * data.class_mask(photo, kind)
        write_labels(labels, after, size)
    return sum(file.stat().st_size for file in new)


def pack_bsds(root: Path, out: Path, count: int, side: int) -> int:
    """Write the first pictures of BSDS500, with two segmentations each; return their bytes.

    `fcp train` takes the statistics of a backbone's channels from them.
    """
    total = 0
    for source in bsds_sources(root)[:count]:
        photo = out / source.image.relative_to(root)
        size = write_photo(read_image(source.image), photo, side)
        total += photo.stat().st_size
        for file in source.labels[:2]:
            with Image.open(file) as drawn:
                write_labels(np.asarray(drawn), out / file.relative_to(root), size)
            total += (out / file.relative_to(root)).stat().st_size
    return total


def pack_mobilenet(weights: str, out: Path) -> int:
    """Write MobileNetV2 in half precision, which loads as the original does; return its bytes."""
    model = load_model(MobileNetV2Model, weights, add_pooling_layer=False)
    model.to(torch.float16).save_pretrained(out)
    return sum(file.stat().st_size for file in out.iterdir())


def pack(
    data_root: Path,
    out: Path,
    shares: Mapping[str, float],
    *,
    room: int,
    fold: int | None,
    bsds: int,
    side: int,
) -> dict[str, int]:
    """Write the data root ``out``.

    Args:
        data_root: Folder that holds ``VOC2012/``, ``objects/`` and ``BSDS500/``.
        out: Folder to write, without data so far.
        shares: Name of a set → its share of the photos.
        room: Number of bytes from which on no further photo is added.
        fold: Fold of VOC's classes that stay novel; None to leave out what COCO names instead.
        bsds: Number of pictures of BSDS500.
        side: Longer side of the photos, px.

    Returns:
        Number of photos by set, and of ``bytes``.
    """
    manifest = out / FOLDER / MANIFEST
    manifest.parent.mkdir(parents=True)
    shutil.copyfile(Objects(data_root).root / FOLDER / MANIFEST, manifest)
    used = manifest.stat().st_size + pack_bsds(data_root, out, bsds, side)
    written: dict[str, list[str]] = {VOC: []}
    sources = training_sources(data_root, fold, hold_out=False)
    for source, photo in by_shares(sources, shares):
        if used >= room:
            break
        used += pack_photo(source, photo, out, side)
        written.setdefault(source.name, []).append(photo)
    lists = out / "VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "trainaug.txt").write_text("".join(f"{photo}\n" for photo in written[VOC]))
    return {**{name: len(photos) for name, photos in written.items()}, "bytes": used}


def main() -> None:
    """Parse, pack, print the numbers of photos as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--mobilenet", required=True, help="folder or hub id, transformers' layout")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--fold", type=int, help="default: none; COCO's kinds stay novel instead")
    parser.add_argument("--bsds", type=int, default=64, help="pictures of BSDS500")
    parser.add_argument("--side", type=int, default=LONG_SIDE, help="longer side, px")
    arguments = parser.parse_args()
    with suppress(FileNotFoundError):
        shutil.rmtree(arguments.out)
    weights = pack_mobilenet(arguments.mobilenet, arguments.out / MOBILENET)
    counts = pack(
        arguments.data_root,
        arguments.out,
        load_recipe(find_recipe("small")).shares,
        room=round(arguments.megabytes * MEGABYTE) - weights,
        fold=arguments.fold,
        bsds=arguments.bsds,
        side=arguments.side,
    )
    print(json.dumps(counts, indent=2))


if __name__ == "__main__":
    main()
