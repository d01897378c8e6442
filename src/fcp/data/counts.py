"""Number of pixels of each class in the masks of a split, counted once and kept on disk.

Counting the 12,000 masks of PASCAL takes most of a minute. The counts are kept in the folder of the
variable ``FCP_CACHE`` (or ``fcp`` in the user's cache folder) under a hash of the classes and of
every mask's path, size and time of change, so another list or a rewritten mask is another entry.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fcp.data.dataset import FewShotDataset, Split
from fcp.errors import FcpError
from fcp.system.files import write_beside

FORMAT = "fcp-counts-1"
WORTH_KEEPING = 1000  # masks; fewer are counted in seconds


def count_areas(data: FewShotDataset, split: Split) -> Mapping[str, Mapping[int, int]]:
    """Return, for each picture of a split in source order, class id → pixels (≥ 1).

    Raises:
        FcpError: a list or mask that cannot be read.
    """
    ids = data.ids(split)
    entry = _entry(data, ids) if len(ids) >= WORTH_KEEPING else None
    kept = None if entry is None else _read(entry)
    if kept is not None:
        return kept
    areas = {picture: data.pixels(picture) for picture in ids}
    if entry is not None:
        _keep(entry, areas)
    return areas


def cache_folder() -> Path:
    """Return the folder that counts are kept in; it need not exist."""
    given = os.environ.get("FCP_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fcp"


def _entry(data: FewShotDataset, ids: tuple[str, ...]) -> Path | None:
    """Return the file of these masks' counts; None if a mask is missing, which reading reports."""
    digest = hashlib.sha256(f"{FORMAT} {data.title} {data.classes}".encode())
    try:
        for picture in ids:
            for mask in data.files(picture)[1:]:
                state = mask.stat()
                known = (picture, str(mask.absolute()), state.st_size, state.st_mtime_ns)
                digest.update(f"\n{known}".encode())
    except OSError:
        return None
    return cache_folder() / "counts" / f"{digest.hexdigest()}.json"


def _read(entry: Path) -> dict[str, dict[int, int]] | None:
    """Read kept counts; None where there are none, or where the file is damaged."""
    try:
        content = json.loads(entry.read_text(encoding="utf-8"))
        return {p: {int(c): int(n) for c, n in areas.items()} for p, areas in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _keep(entry: Path, areas: Mapping[str, Mapping[int, int]]) -> None:
    """Store counts if possible; a full or read-only disk is not an error here."""
    with suppress(FcpError):
        write_beside(entry, json.dumps(areas).encode())
