"""Pictures with their region hierarchies and label maps, prepared once and kept on disk.

Building a hierarchy takes a few tenths of a second a picture and training visits each picture many
times, so the result is stored, one file a picture, and a second run starts at once. Its name holds
a hash of photo, label maps and encoder, so that other data under the same names are prepared anew,
and those of another encoder; a file that cannot be read is, too.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fcp.data.images import read_image, read_labels
from fcp.data.objects import Objects
from fcp.data.regions import RegionTree, build_region_tree, map_features
from fcp.errors import FcpError
from fcp.system.files import make_folder, open_atomically, sha256_of

LONG_SIDE = 384  # px that a picture's longer side is reduced to
VOC_BACKGROUND = (0, 255)

Encode = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]


@dataclass(frozen=True)
class RegionSource:
    """Files of one training picture.

    Attributes:
        key: Unique name, used as file name in the store.
        image: Path of the photo.
        labels: Paths of its label maps (class masks or human segmentations).
        background: Ids in the label maps that are not regions.
        weight: Relative frequency with which it is drawn.
    """

    key: str
    image: Path
    labels: tuple[Path, ...]
    background: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class RegionPicture:
    """One prepared picture.

    Attributes:
        image: Picture (H, W, 3) RGB, longer side ``LONG_SIDE``.
        tree: Region hierarchy of the picture.
        labels: Label maps (A, H, W).
        background: Ids in the label maps that are not regions.
        weight: Relative frequency with which it is drawn.
    """

    image: NDArray[np.uint8]
    tree: RegionTree
    labels: NDArray[np.uint8]
    background: tuple[int, ...]
    weight: float = 1.0


def voc_sources(root: Path, weights: Mapping[str, float]) -> list[RegionSource]:
    """List VOC pictures from weights by id; their label maps are class masks."""
    return [
        RegionSource(
            key=f"voc-{i}",
            image=root / "VOC2012" / "JPEGImages" / f"{i}.jpg",
            labels=(root / "VOC2012" / "SegmentationClassAug" / f"{i}.png",),
            background=VOC_BACKGROUND,
            weight=weight,
        )
        for i, weight in weights.items()
    ]


def bsds_sources(root: Path) -> list[RegionSource]:
    """List all BSDS500 pictures; their label maps are the annotators' segmentations."""
    base = root / "BSDS500"
    return [
        RegionSource(
            key=f"bsds-{image.stem}",
            image=image,
            labels=tuple(
                sorted((base / "regions" / image.parent.name).glob(f"{image.stem}_*.png"))
            ),
            background=(),
        )
        for image in sorted(base.glob("images/*/*.jpg"))
    ]


def with_regions(sources: Sequence[RegionSource]) -> list[RegionSource]:
    """Leave out pictures without label maps, such as those whose regions could not be read."""
    return [source for source in sources if source.labels]


def object_sources(objects: Objects, weights: Mapping[str, float]) -> list[RegionSource]:
    """List pictures of `objects` from weights by id; each mask is a label map with one region."""
    return [
        RegionSource(
            key=picture.replace("/", "-"),
            image=objects.image_path(picture),
            labels=tuple(objects.mask_path(picture, c) for c in objects.shown[picture]),
            background=(0,),
            weight=weight,
        )
        for picture, weight in weights.items()
    ]


def prepare(
    sources: Sequence[RegionSource], store: Path, encode: Encode, *, encoder: str, workers: int = 1
) -> Iterator[RegionPicture]:
    """Yield each source's prepared picture, building and storing what the store does not hold.

    Args:
        sources: Pictures to prepare.
        store: Folder of ``KEY-HASH.npz`` files; made if missing.
        encode: Function that returns a picture's backbone maps, see ``regions.map_features``; one
            that can be pickled where there are several workers.
        encoder: Hash of all that ``encode`` depends on.
        workers: Number of processes that build before the first picture is yielded; 1 for none
            but this one.

    Raises:
        FcpError: a photo or label map is missing or damaged.
    """
    make_folder(store)
    files = {source: _file_of(source, store, encoder) for source in sources}
    missing = [(source, file) for source, file in files.items() if not file.exists()]
    if min(workers, len(missing)) > 1:
        _build_apart(missing, encode, workers)
    for source, file in files.items():
        picture = _read(source, file)
        if picture is None:
            picture = _build(source, encode)
            _write(picture, file)
        yield picture


def _read(source: RegionSource, file: Path) -> RegionPicture | None:
    """Read a stored picture; None where it is missing or damaged."""
    try:
        with np.load(file) as stored:
            return RegionPicture(
                image=stored["image"],
                tree=RegionTree(stored["leaves"], stored["children"]),
                labels=stored["labels"],
                background=source.background,
                weight=source.weight,
            )
    except (OSError, EOFError, KeyError, ValueError, BadZipFile, zlib.error):
        return None


def _file_of(source: RegionSource, store: Path, encoder: str) -> Path:
    """Return where a picture is stored.

    Raises:
        FcpError: the photo or a label map is missing or cannot be read.
    """
    content = "".join(sha256_of(file) for file in (source.image, *source.labels))
    digest = hashlib.sha256(f"{content}{encoder}".encode())
    return store / f"{source.key}-{digest.hexdigest()[:12]}.npz"


def _build_apart(
    missing: Sequence[tuple[RegionSource, Path]], encode: Encode, workers: int
) -> None:
    """Build in other processes; what one of them cannot read, and what follows, stays missing."""
    # Each tensor of ``encode`` that is sent, not inherited, holds a file open on Linux.
    linux = sys.platform == "linux"
    context = multiprocessing.get_context("fork") if linux else multiprocessing.get_context()
    parts = (missing[first::workers] for first in range(workers))
    apart = [context.Process(target=_build_part, args=(part, encode)) for part in parts]
    for process in apart:
        process.start()
    for process in apart:
        process.join()


def _build_part(missing: Sequence[tuple[RegionSource, Path]], encode: Encode) -> None:
    torch.set_num_threads(1)  # the processes' threads would wait for one another
    with suppress(FcpError):  # met again, and told, by the process that waits
        for source, file in missing:
            _write(_build(source, encode), file)


def _build(source: RegionSource, encode: Encode) -> RegionPicture:
    image = read_image(source.image)
    scale = LONG_SIDE / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))  # width, height
    reduced = np.array(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    labels = []
    for file in source.labels:
        label_map = Image.fromarray(read_labels(file))
        labels.append(np.asarray(label_map.resize(size, Image.Resampling.NEAREST), np.uint8))
    return RegionPicture(
        image=reduced,
        tree=build_region_tree(reduced, map_features(encode, reduced)),
        labels=np.stack(labels),
        background=source.background,
        weight=source.weight,
    )


def _write(picture: RegionPicture, file: Path) -> None:
    with open_atomically(file) as stream:
        np.savez(
            stream,
            image=picture.image,
            leaves=picture.tree.leaves,
            children=picture.tree.children,
            labels=picture.labels,
        )
