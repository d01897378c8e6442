"""The demo's photos with their masks: public domain, carried by packages that tests have."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from fcp.cli.demo import _read_mask, _read_photo, _resource
from fcp.config import load_json


@dataclass(frozen=True)
class Shown:
    pixels: np.ndarray
    mask: np.ndarray

    @property
    def png(self):
        stream = io.BytesIO()
        Image.fromarray(self.pixels).save(stream, "PNG")
        return stream.getvalue()


@pytest.fixture(scope="session")
def photos():
    """Return name → photo with mask: two persons, a cat, and the same cat mirrored and cropped."""
    content = load_json(_resource("scenes.json"))["photos"]
    found = {}
    for name in ("astronaut", "grace_hopper", "chelsea"):
        pixels = _read_photo(**content[name])
        found[name] = Shown(pixels, _read_mask(name, pixels))
    cat = found["chelsea"]
    parts = (part[:300, 120:451][:, ::-1] for part in (cat.pixels, cat.mask))
    return {**found, "chelsea_again": Shown(*(np.ascontiguousarray(part) for part in parts))}


def iou(a, b):
    return (a & b).sum() / (a | b).sum()
