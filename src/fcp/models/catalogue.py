"""What there is to know of each model before it is fetched: size, licence, published score.

Light: no torch. The sizes follow from the published architectures (four bytes a parameter;
``tests/models/test_catalogue.py`` builds each one and counts), but for SAM 2.1 whose file also
holds the parts for films. Published scores are those of the papers' own encoders; no other
combination of parts has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fcp.encoders.places import installed_folder
from fcp.errors import FcpError
from fcp.method.names import BACKBONES, CHOICES, DEFAULTS, SEGMENTERS, FreeName, is_free
from fcp.models.files import CONFIG_FILE, WEIGHTS_FILE
from fcp.models.free import read_free
from fcp.models.settings import FREE_FORMAT, format_of

APACHE = "Apache-2.0"
DINOV3 = "DINOv3 License"


@dataclass(frozen=True)
class Weights:
    """Published weights of one encoder.

    Attributes:
        hub_id: Name on the Hugging Face hub.
        megabytes: Size of the download in MB (10⁶ bytes).
        licence: Licence of the weights.
        data: Data that the weights were trained on.
        gated: Whether an account has to accept the licence first.
    """

    hub_id: str
    megabytes: int
    licence: str
    data: str
    gated: bool = False


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model.

    Attributes:
        name: Name for ``--model``.
        downloads: Weights that are fetched at the first use; none for a model that ships.
        shipped_megabytes: Size of the weights inside this package, or of a folder, in MB; 0 where
            there are none.
        scores: Benchmark → published 1-shot mIoU in percent.
        source: Source of the scores.
        data: Data behind the weights of a model that ships.
        gib: Memory in GiB that the model wants, where it was measured; None where not.
        licence: Licence of weights that are not fetched; None where it is unknown.
    """

    name: str
    downloads: tuple[Weights, ...]
    shipped_megabytes: int
    scores: Mapping[str, float]
    source: str
    data: tuple[str, ...]
    gib: float | None = None
    licence: str | None = None

    @property
    def megabytes(self) -> int:
        """Size of all that is fetched, in MB."""
        return sum(part.megabytes for part in self.downloads)

    @property
    def licences(self) -> tuple[str, ...]:
        """Licences of the weights, each once; none where they are unknown."""
        parts = [*(part.licence for part in self.downloads), self.licence]
        return tuple(dict.fromkeys(part for part in parts if part is not None))

    @property
    def gated(self) -> bool:
        """Whether a licence has to be accepted on the hub first."""
        return any(part.gated for part in self.downloads)

    def missing(self, cache: Path | None = None) -> tuple[Weights, ...]:
        """Return the weights that are not on this machine; asks nobody.

        Args:
            cache: Cache of the hub's client; None for its usual place.
        """
        return tuple(w for w in self.downloads if installed_folder(w.hub_id, cache) is None)


def _weights() -> Iterator[Weights]:
    lvd = "LVD-142M: pictures of the web, not published"
    for size, megabytes in {"small": 88, "base": 346, "large": 1217, "giant": 4546}.items():
        yield Weights(BACKBONES[f"dinov2-{size}"], megabytes, APACHE, lvd)
    lvd = "LVD-1689M: pictures of the web, not published"
    for size, megabytes in {
        "vits16": 86,
        "vits16plus": 115,
        "vitb16": 343,
        "vitl16": 1213,
        "vith16plus": 3362,
        "vit7b16": 26864,
    }.items():
        yield Weights(BACKBONES[f"dinov3-{size}"], megabytes, DINOV3, lvd, gated=True)
    for size, megabytes in {"base": 375, "large": 1249, "huge": 2564}.items():
        yield Weights(SEGMENTERS[f"sam-vit-{size}"], megabytes, APACHE, "SA-1B")
    for size, megabytes in {"base": 379, "large": 1255, "huge": 2571}.items():
        yield Weights(SEGMENTERS[f"sam-hq-vit-{size}"], megabytes, APACHE, "SA-1B, HQSeg-44K")
    for size, megabytes in {"tiny": 156, "small": 184, "base-plus": 324, "large": 898}.items():
        yield Weights(SEGMENTERS[f"sam2.1-hiera-{size}"], megabytes, APACHE, "SA-1B, SA-V")


WEIGHTS: dict[str, Weights] = {weights.hub_id: weights for weights in _weights()}

COCO, PASCAL = "COCO-20i", "PASCAL-5i"
OURS = "36 COCO kinds"  # of a sample, that no training of ours had; no published benchmark
_SCORES: dict[str, tuple[dict[str, float], str]] = {
    "free:insid3+dinov3-vitl16": ({COCO: 57.6}, "INSID3's paper"),
    "free:gf-sam+dinov2-large+sam-vit-huge": ({PASCAL: 72.3, COCO: 58.7}, "GF-SAM's logs"),
    "free:persam+sam-vit-huge": ({PASCAL: 43.1, COCO: 23.0}, "GF-SAM's paper"),
    "free:persam-f+sam-vit-huge": ({PASCAL: 48.5, COCO: 23.5}, "GF-SAM's paper"),
    "free:matcher+dinov2-large+sam-vit-huge": (
        {PASCAL: 68.1, COCO: 52.7},
        "Matcher's logs; PASCAL-5i by GF-SAM's paper",
    ),
}
_MEASURED_GIB = {  # docs/methods/free.md
    "free:insid3+dinov3-vitl16": 2.0,
    "free:gf-sam+dinov2-large+sam-vit-huge": 8.3,
    "free:persam+sam-vit-huge": 5.1,
    "free:contrast+dinov2-large+sam2.1-hiera-large": 2.9,
}
_SHIPPED = {
    "small": (
        45.3,
        0.8,
        ("PASCAL VOC 2012", "objects: eight sets, some for research", "BSDS500", "ImageNet"),
    ),
    "tiny": (32.2, 0.5, ("PASCAL VOC 2012", "BSDS500 (research use)", "ImageNet")),
}
LISTED = (
    *_SHIPPED,
    *(choice for choice in CHOICES if choice.startswith("free:gf-sam")),
    "free:insid3+dinov3-vitl16",
    "free:insid3+dinov3-vitb16",
    *(str(DEFAULTS[name]) for name in ("matcher", "persam-f", "persam", "contrast")),
)


def find_facts(name: str, device: str = "auto") -> ModelFacts:
    """Return what is known of a model that ships or needs no training, or that lies in a folder.

    Args:
        name: Name for ``--model``: ``small``, ``tiny``, a name that begins with ``free``, or a
            model's folder.
        device: Device that plain ``free`` is chosen for.

    Raises:
        FcpError: an unknown name or a damaged folder; or a part of a name that is a folder or
            another id of the hub: nothing is known of those.
    """
    if name in _SHIPPED:
        return _shipped(name)
    if not is_free(name):
        return _of_folder(name)
    found, _ = read_free(name, device)
    for part in _parts(found):
        if part not in WEIGHTS:
            raise FcpError(f"{name}: nothing is known of {part}; its own page says what it is")
    scores, source = _SCORES.get(str(found), ({}, ""))
    downloads = tuple(WEIGHTS[part] for part in _parts(found))
    data = tuple(dict.fromkeys(weights.data for weights in downloads))
    return ModelFacts(str(found), downloads, 0, scores, source, data, _MEASURED_GIB.get(str(found)))


def _parts(found: FreeName) -> list[str]:
    return [part for part in (found.backbone, found.segmenter) if part]


def _of_folder(name: str) -> ModelFacts:
    """Return the size of a model's own folder, or what a folder without weights has to fetch."""
    folder = Path(name)
    if not (folder / CONFIG_FILE).is_file():
        expected = f"{', '.join(_SHIPPED)}, a name that begins with free:, or a model's folder"
        raise FcpError(f"{name}: nothing is known of this model; expected {expected}")
    if format_of(folder) != FREE_FORMAT:
        return ModelFacts(name, (), _megabytes(folder), {}, "", ())
    parts = [WEIGHTS[part] for part in _parts(read_free(folder)[0]) if part in WEIGHTS]
    data = tuple(dict.fromkeys(weights.data for weights in parts))
    return ModelFacts(name, tuple(parts), _megabytes(folder), {}, "", data)


def list_models() -> tuple[ModelFacts, ...]:
    """Return the models that ship, then the methods without training, the best scores first."""
    return tuple(find_facts(name) for name in LISTED)


def _shipped(name: str) -> ModelFacts:
    score, gib, data = _SHIPPED[name]
    size = _megabytes(Path(str(files("fcp") / "models" / name)))
    card = "this project's model card"
    return ModelFacts(name, (), size, {OURS: score}, card, data, gib, APACHE)


def _megabytes(folder: Path) -> int:
    weights = folder / WEIGHTS_FILE
    return round(weights.stat().st_size / 1e6) if weights.is_file() else 0
