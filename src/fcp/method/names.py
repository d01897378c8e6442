"""``--model free:METHOD+BACKBONE+SEGMENTER`` → what to load. Light: no torch, no transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fcp.errors import FcpError

PREFIX = "free"

BACKBONES = {
    **{
        f"dinov3-{size}": f"facebook/dinov3-{size}-pretrain-lvd1689m"
        for size in ("vits16", "vits16plus", "vitb16", "vitl16", "vith16plus", "vit7b16")
    },
    **{f"dinov2-{size}": f"facebook/dinov2-{size}" for size in ("small", "base", "large", "giant")},
}
SEGMENTERS = {
    **{f"sam-vit-{size}": f"facebook/sam-vit-{size}" for size in ("base", "large", "huge")},
    **{
        f"sam-hq-vit-{size}": f"syscv-community/sam-hq-vit-{size}"
        for size in ("base", "large", "huge")
    },
    **{
        f"sam2.1-hiera-{size}": f"facebook/sam2.1-hiera-{size}"
        for size in ("tiny", "small", "base-plus", "large")
    },
}


PUBLISHED = frozenset({*BACKBONES.values(), *SEGMENTERS.values()})


@dataclass(frozen=True)
class FreeName:
    """What a name stands for.

    Attributes:
        method: Key of ``registry.METHODS``.
        backbone: Hub id or folder; None of a method without one.
        segmenter: Hub id or folder; None of a method without one.
    """

    method: str
    backbone: str | None
    segmenter: str | None

    @property
    def is_published(self) -> bool:
        """Whether the training of all encoders is known: their names are those listed here."""
        return {self.backbone, self.segmenter} <= {None, *PUBLISHED}

    def __str__(self) -> str:
        """Return the name that parses to this."""
        short = {
            hub_id: name for table in (BACKBONES, SEGMENTERS) for name, hub_id in table.items()
        }
        parts = [short.get(part, part) for part in (self.backbone, self.segmenter) if part]
        return f"{PREFIX}:{'+'.join([self.method, *parts])}"


# The parts that the papers use, and for ours an open encoder; None where a method has no such part.
DEFAULTS = {
    "insid3": FreeName("insid3", BACKBONES["dinov3-vitl16"], None),
    "gf-sam": FreeName("gf-sam", BACKBONES["dinov2-large"], SEGMENTERS["sam-vit-huge"]),
    "persam": FreeName("persam", None, SEGMENTERS["sam-vit-huge"]),
    "persam-f": FreeName("persam-f", None, SEGMENTERS["sam-vit-huge"]),
    "matcher": FreeName("matcher", BACKBONES["dinov2-large"], SEGMENTERS["sam-vit-huge"]),
    "contrast": FreeName("contrast", BACKBONES["dinov2-large"], SEGMENTERS["sam2.1-hiera-large"]),
}
# What plain "free" takes, best published score first, with the memory (GiB) that it wants. DINOv3
# is gated, so INSID3 counts only where its weights are on this machine.
GATED = "free:insid3+dinov3-vitl16"
CHOICES = {
    "free:gf-sam+dinov2-large+sam-vit-huge": 10,
    GATED: 6,
    "free:gf-sam+dinov2-base+sam2.1-hiera-base-plus": 5,
    "free:gf-sam+dinov2-small+sam2.1-hiera-tiny": 0,
}


def is_free(name: str) -> bool:
    """Whether a model's name asks for a method without training."""
    return name == PREFIX or name.startswith(f"{PREFIX}:")


def parse_name(name: str) -> FreeName:
    """Read a name; parts that it leaves out are the paper's.

    Args:
        name: ``free``, ``free:METHOD`` or with parts after ``+``, each a short name, a hub id or a
            folder; a part that is not a short name is the backbone first, then the segmenter.

    Raises:
        FcpError: an unknown method or part, or a part that the method does not have.
    """
    if name == PREFIX:
        return parse_name(next(iter(CHOICES)))
    if not is_free(name):
        raise FcpError(f"{name}: no method without training; such names start with free:")
    method, *parts = name.removeprefix(f"{PREFIX}:").split("+")
    if method not in DEFAULTS:
        raise FcpError(f"{name}: no method {method!r}; there are {', '.join(DEFAULTS)}")
    default = DEFAULTS[method]
    free = [kind for kind in ("backbone", "segmenter") if getattr(default, kind) is not None]
    given: dict[str, str] = {}
    for part in parts:
        kind, place = _place(name, part, [kind for kind in free if kind not in given])
        given[kind] = place
    return FreeName(
        method,
        given.get("backbone", default.backbone),
        given.get("segmenter", default.segmenter),
    )


def _place(name: str, part: str, left: list[str]) -> tuple[str, str]:
    """Return which of the parts left a word names, and its hub id or folder."""
    tables = {"backbone": BACKBONES, "segmenter": SEGMENTERS}
    kind = next((kind for kind, table in tables.items() if part in table), None)
    if kind is None and not _is_place(part):
        known = "; ".join(f"{kind}s: {', '.join(tables[kind])}" for kind in left) or "no more parts"
        raise FcpError(
            f"{name}: unknown part {part!r}; {known}; or a hub id OWNER/NAME or a folder"
        )
    if kind is None and left:
        return left[0], part
    if kind not in left:
        word = kind or "part"
        raise FcpError(
            f"{name}: {part!r} is one {word} too many; this method takes"
            f" {' and '.join(f'one {k}' for k in left) or 'no more'}"
        )
    return kind, tables[kind][part]


def _is_place(part: str) -> bool:
    is_path = "/" in part or "\\" in part or part.endswith((".pth", ".pt"))
    return is_path or (part != "" and Path(part).is_dir())


def choose_default(memory: float, is_installed: Callable[[str], bool]) -> tuple[FreeName, str]:
    """Choose what plain ``free`` loads.

    Args:
        memory: Memory of the device that is free, GiB.
        is_installed: Function that says whether a hub id's weights are on this machine.

    Returns:
        The choice, and one line that says it and why.
    """
    fitting = [choice for choice, needed in CHOICES.items() if needed <= memory]
    for choice in fitting:
        found = parse_name(choice)
        if all(is_installed(part) for part in (found.backbone, found.segmenter) if part):
            return found, f"{choice}: the best of those whose weights are on this machine"
    choice = next(choice for choice in fitting if choice != GATED)
    line = f"{choice}: the best that fits {memory:.0f} GiB; it is fetched once"
    quickest = [*CHOICES][-1]
    if choice != quickest:
        line += f"; without a GPU a photo takes minutes, and {quickest} is quicker"
    return parse_name(choice), line
