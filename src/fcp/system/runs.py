"""Output folders of ``fcp segment``, known by their ``results.json``. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fcp.system.files import plain

RESULTS_FILE = "results.json"
RESULTS_FORMAT = "fcp-results-"  # with the number of the format
PAGES = "pages"  # folder of pages as pictures of their own, to which files for other tools refer
_OLD_FOLDERS = ("masks", "overlays", "labels")  # of runs that did not record their files


def read_run(folder: Path) -> dict[str, Any] | None:
    """Read the records of the run whose output folder this is; None for any other folder."""
    book = folder / RESULTS_FILE
    try:
        content = json.loads(book.read_bytes()) if book.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    kind = content.get("format") if isinstance(content, dict) else None
    return content if isinstance(kind, str) and kind.startswith(RESULTS_FORMAT) else None


def files_of_run(folder: Path) -> set[Path]:
    """Return the files of the run whose output folder this is; empty for any other folder."""
    content = read_run(folder)
    if content is None:
        return set()
    files = content.get("files")
    if isinstance(files, dict):
        return {plain(folder / str(name)) for name in (*files, RESULTS_FILE)}
    inside = {path for name in _OLD_FOLDERS for path in (folder / name).glob("*")}
    return {plain(path) for path in (*inside, folder / RESULTS_FILE, folder / "report.html")}
