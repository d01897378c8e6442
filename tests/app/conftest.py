"""Public-domain photos with our masks, and pictures of plain colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fcp.visualize import encode

pytest.importorskip("gradio", reason="needs gradio; pip install 'fcp[app]'")


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Return a function: size and seed → a PNG of noise."""

    def make(height: int = 20, width: int = 30, seed: int = 0) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return encode(noise, "png")

    return make


@pytest.fixture(scope="session")
def demo_photos() -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return the photos of `fcp demo` by name, each with its mask where we have one."""
    pytest.importorskip("skimage", reason="needs the photos of scikit-image")
    pytest.importorskip("matplotlib", reason="needs the photos of matplotlib")
    from fcp.cli.demo import _read_mask, _read_photo, _resource
    from fcp.config import load_json

    photos = {}
    for name, source in load_json(_resource("scenes.json"))["photos"].items():
        photo = _read_photo(**source)
        has_mask = _resource(f"masks/{name}.png").is_file()
        photos[name] = (photo, _read_mask(name, photo) if has_mask else None)
    return photos


@pytest.fixture(scope="session")
def demo_files(demo_photos, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return these photos as files."""
    folder = tmp_path_factory.mktemp("photos")
    files = {}
    for name, (photo, _) in demo_photos.items():
        files[name] = folder / f"{name}.png"
        files[name].write_bytes(encode(photo, "png"))
    return files
