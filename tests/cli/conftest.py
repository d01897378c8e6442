"""A folder with an example, one with photos, and the command on both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.inference.segmenter import FewShotSegmenter


@pytest.fixture
def picture() -> Callable[..., None]:
    """Return a function that writes a picture of noise."""

    def picture(path: Path, height: int = 40, width: int = 50, seed: int = 0) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    return picture


@pytest.fixture
def examples(tmp_path: Path, picture: Callable[..., None]) -> Path:
    """Return a folder with one example."""
    picture(tmp_path / "examples" / "a.jpg", seed=100)
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:30, 10:30] = True
    Image.fromarray(mask).save(tmp_path / "examples" / "a_mask.png")
    return tmp_path / "examples"


@pytest.fixture
def photos(tmp_path: Path, picture: Callable[..., None]) -> Path:
    """Return a folder with four photos."""
    for index in range(4):
        picture(tmp_path / "photos" / f"p{index}.jpg", 30 + 7 * index, 60, seed=index)
    return tmp_path / "photos"


@pytest.fixture
def run(model_folder: Path, examples: Path, photos: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs `fcp segment` with the usual folders unless told otherwise.

    Without the appearance, whose fit would take most of the time.
    """

    def run(
        *more: Any,
        support: Path = examples,
        query: tuple[Path, ...] = (photos,),
        model: Path = model_folder,
        appearance: str = "off",
    ) -> Any:
        fixed = ["--support", support, "--out", tmp_path / "out", "--model", model]
        fixed += ["--appearance", appearance]
        arguments = ["segment", *fixed, "--device", "cpu", "--query", *query, *more]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def command() -> Callable[..., Any]:
    """Return a function: arguments, and environment → end, lines of errors and imported modules.

    What a command imports says how soon it answers, on any machine.
    """

    def run(*arguments: Any, **environment: str) -> tuple[int, list[str], set[str]]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "fcp", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=100,
            check=False,
        )
        lines = done.stderr.splitlines()
        loads = [line for line in lines if line.startswith("import time:")]
        imported = {line.rpartition("|")[2].strip() for line in loads}
        assert "fcp.cli.main" in imported
        return done.returncode, [line for line in lines if line not in loads], imported

    return run


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that grows by the size of each photo that the model is asked about."""
    sizes: list[tuple[int, int]] = []
    original = FewShotSegmenter.predict_batch

    def counted(self: Any, images: Any, **how: Any) -> Any:
        photos = list(images)
        sizes.extend(photo.size for photo in photos)
        return original(self, photos, **how)

    monkeypatch.setattr(FewShotSegmenter, "predict_batch", counted)
    return sizes
