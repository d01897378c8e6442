"""Output folders of ``fcp segment``, known by their ``results.json``. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS_FILE = "results.json"
RESULTS_FORMAT = "fcp-results-"  # with the number of the format


def read_run(folder: Path) -> dict[str, Any] | None:
    """Read the records of the run whose output folder this is; None for any other folder."""
    book = folder / RESULTS_FILE
    try:
        content = json.loads(book.read_bytes()) if book.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    kind = content.get("format") if isinstance(content, dict) else None
    return content if isinstance(kind, str) and kind.startswith(RESULTS_FORMAT) else None
