"""What every test may use: the folder of the data sets, and no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder that holds VOC2012/, COCO/ and BSDS500/; without it the test is skipped."""
    given = os.environ.get("FCP_DATA_ROOT")
    if not given:
        pytest.skip("needs FCP_DATA_ROOT, the folder that holds VOC2012/, COCO/ and BSDS500/")
    return Path(given)
