"""The BSDS500 download → ``BSDS500/images/SPLIT/ID.jpg`` with ``BSDS500/regions/SPLIT/ID_A.png``.

It has no classes and so is no benchmark: the promptable stages of ``tiny`` and ``small`` learn from
it what a region is, and the statistics of a frozen backbone are measured on it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from fcp.data.archives import Built, Member, Progress, has_size, require_space, store, walk
from fcp.data.images import label_png
from fcp.errors import FcpError

FOLDER = "BSDS500"
SPLITS = ("train", "val", "test")
_MOST_REGIONS = 256  # of one segmentation: region ids are 8-bit; the published ones have up to 208
_REGION_BYTES = 30_000  # more than the regions that the annotators of a picture drew take as PNG


def build_bsds500(
    source: Path, out: Path, *, say: Callable[[str], None], progress: Progress
) -> Built:
    """Build the data set, or continue an interrupted build.

    Args:
        source: BSR_bsds500.tgz, or its unpacked folder; folders around ``images`` and
            ``groundTruth`` do not matter.
        out: Data root; ``BSDS500/`` is made in it.
        say: Function that takes the line on disk space before anything is written.
        progress: Function that is called after each file.

    Raises:
        FcpError: the download is missing, broken or of another data set; the disk is full. What was
            written stays, and the next run continues after it.
    """
    photos = {m.path: m.size for m in walk(source) if _is_in(m.path, "images", ".jpg")}
    if not photos:
        raise FcpError(f"{source}: no images/train/ID.jpg in it; not BSDS500")
    folder = out / FOLDER
    say(require_space(out, sum(photos.values()) + _REGION_BYTES * len(photos)))
    drawn: set[tuple[str, str]] = set()
    problems: list[str] = []
    for done, member in enumerate(filter(_is_wanted, walk(source)), 1):
        if member.path in photos:
            target = folder / "images" / _split(member.path) / member.path.name
            if not has_size(target, member.size):
                store(target, member.read)
        else:
            problems += _convert(member, folder, drawn)
        progress("pictures and regions", done, 2 * len(photos))
    shown = {(_split(path), path.stem) for path in photos}
    named = " ".join(problems)
    problems += [
        f"{split}/{stem}.jpg: no such regions"
        for split, stem in sorted(shown - drawn)
        if f"/{stem}.mat:" not in named
    ]
    return Built(len(shown & drawn), tuple(problems))


def read_bsds_regions(content: bytes) -> list[NDArray[np.uint8]]:
    """Read the segmentations of a ``.mat`` of BSDS500's ``groundTruth``.

    Returns:
        One label map (H, W) of region ids from 0 for each annotator.

    Raises:
        FcpError: damaged, or without ``groundTruth.Segmentation``.
    """
    try:
        stream: Any = io.BytesIO(content)  # scipy's stubs allow only paths
        truth = loadmat(stream, variable_names=["groundTruth"])["groundTruth"]
        found = [np.asarray(one["Segmentation"][0, 0]) for one in truth.ravel()]
    except Exception as error:  # scipy raises many kinds on a damaged file
        raise FcpError(f"no readable groundTruth.Segmentation ({error})") from error
    if not found or any(one.ndim != 2 or not one.size for one in found):
        raise FcpError("expected a matrix of region ids for each annotator")
    if any(one.min() < 1 or one.max() > _MOST_REGIONS for one in found):
        raise FcpError(f"expected region ids of 1 … {_MOST_REGIONS}")
    return [(one - 1).astype(np.uint8) for one in found]


def _convert(member: Member, folder: Path, drawn: set[tuple[str, str]]) -> list[str]:
    """Write the regions of one picture, note it in ``drawn``, and return what went wrong."""
    split, content = _split(member.path), member.read()
    try:
        regions = read_bsds_regions(content)
    except FcpError as error:
        return [f"{member.path}: {error}; left out"]
    for annotator, labels in enumerate(regions):
        target = folder / "regions" / split / f"{member.path.stem}_{annotator}.png"
        if not target.is_file():  # it was written whole or not at all
            store(target, partial(label_png, labels))
    drawn.add((split, member.path.stem))
    return []


def _is_wanted(member: Member) -> bool:
    return _is_in(member.path, "images", ".jpg") or _is_in(member.path, "groundTruth", ".mat")


def _is_in(path: PurePosixPath, folder: str, suffix: str) -> bool:
    # The download has a second images/ and groundTruth/ in bench/, without splits.
    return (
        path.suffix == suffix and path.parent.name in SPLITS and path.parent.parent.name == folder
    )


def _split(path: PurePosixPath) -> str:
    return path.parent.name
