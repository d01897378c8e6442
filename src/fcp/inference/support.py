"""The encoded examples of a task: made once, used for any number of photos.

A support is a value that can be kept, sent to a worker, and saved. Its file is a safetensors file:
the tensors by name, and a JSON record of all other fields in the header. It holds no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fcp.checks import check, from_dict
from fcp.data.photos import MOST_DRAWN
from fcp.errors import FcpError
from fcp.inference.appearance.classifier import Classifier
from fcp.inference.appearance.fitting import Appearance
from fcp.inference.appearance.gate import Decision
from fcp.inference.example_quality import ExampleQuality
from fcp.inference.packing import pack, tensors_of, unpack, unpack_oldest
from fcp.inference.tiling import MOST_CANVAS
from fcp.structures import moved
from fcp.system.documents import parse_json
from fcp.system.files import write_atomically

FORMAT = "fcp-support-2"
OLDEST = "fcp-support-1"  # of FCP alone; still read
_RECORD, _CHECKSUM = "support", "sha256"  # entries of the header


@dataclass(frozen=True, eq=False)
class Support:
    """Encoded examples.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from fcp import FewShotSegmenter
        >>> photo = np.zeros((60, 80, 3), np.uint8)
        >>> photo[10:40, 20:60] = 255
        >>> segmenter = FewShotSegmenter.from_pretrained("tiny", device="cpu")
        >>> support = segmenter.encode([(photo, photo[..., 0] > 0)])
        >>> file = Path(tempfile.mkdtemp()) / "square.safetensors"
        >>> support.save(file)
        >>> segmenter.predict(photo, support=Support.load(file)).labels.shape
        (60, 80)

    Attributes:
        model: Fingerprint of the model that encoded the examples; other models cannot use them.
        classes: Encoded examples of each class by its name, at least one class; the model's network
            knows their type.
        negatives: Encoded negative examples, or None.
        tile: Side in px of the tiles that photos are cut into; None for the whole photo.
        tile_was_chosen: Whether the side was chosen by the rule and not by the user; it is then
            enlarged where a photo would have too many tiles.
        appearances: Appearance of each entrant, in their order; None where one has none. Empty
            where appearance is off.
        quality: Result of finding each example by the others of its class, by class name, where the
            check was requested and a class has several examples. It is not kept in a file.
    """

    model: str
    classes: Mapping[str, Any]
    negatives: Any = None
    tile: int | None = None
    tile_was_chosen: bool = False
    appearances: Sequence[Appearance | None] = ()
    quality: Mapping[str, Sequence[ExampleQuality]] = field(default_factory=dict)

    @property
    def most_pixels(self) -> int:
        """Number of pixels of a large photo that are segmented."""
        return MOST_DRAWN if self.tile is None else MOST_CANVAS

    @property
    def entrants(self) -> tuple[Any, ...]:
        """Encoded examples of all that compete for pixels: the classes, and the negatives last."""
        last = () if self.negatives is None else (self.negatives,)
        return (*self.classes.values(), *last)

    @property
    def decisions(self) -> dict[str, Decision]:
        """Decision between network and appearance for each class that has an appearance."""
        pairs = zip(self.classes, self.appearances, strict=False)
        return {name: own.decision for name, own in pairs if own is not None}

    def to(self, device: torch.device) -> Support:
        """Return the support with its network tensors on a device."""
        places = {tensor.device for _, tensor in tensors_of(self.entrants)}
        if all(p.type == device.type and device.index in (None, p.index) for p in places):
            return self
        classes = {name: moved(one, device) for name, one in self.classes.items()}
        return replace(self, classes=classes, negatives=moved(self.negatives, device))

    def with_class(self, name: str, other: Support) -> Support:
        """Return the same task with a class's examples taken from another support.

        Args:
            name: Name of the class, the only one of ``other``.
            other: Support to take the class's examples from.
        """
        place = list(self.classes).index(name)
        appearances = list(self.appearances)
        appearances[place : place + 1] = other.appearances
        classes = {**self.classes, name: other.classes[name]}
        return replace(self, classes=classes, appearances=appearances)

    def save(self, path: Path | str) -> None:
        """Write the support to a file; an older one is replaced.

        Args:
            path: File to write, ``.safetensors`` by custom.

        Raises:
            FcpError: the file cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        for index, entrant in enumerate(self.entrants):
            tensors |= dict(tensors_of(entrant, f"{index}"))
        for index, one in enumerate(self.appearances):
            if one is not None and one.classifier is not None:
                tensors |= dict(tensors_of(one.classifier, f"{index}.appearance"))
        record = _Record(
            format=FORMAT,
            model=self.model,
            classes=list(self.classes),
            has_negatives=self.negatives is not None,
            entrants=[pack(entrant, f"{index}") for index, entrant in enumerate(self.entrants)],
            tile=self.tile,
            tile_was_chosen=self.tile_was_chosen,
            appearances=[None if one is None else _record_of(one) for one in self.appearances],
        )
        copies = {name: one.detach().cpu().contiguous().clone() for name, one in tensors.items()}
        text = json.dumps(asdict(record))
        header = {_RECORD: text, _CHECKSUM: _checksum(text, copies)}
        write_atomically(Path(path), save(copies, metadata=header))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a support that ``save`` has written, on the CPU.

        Args:
            path: File to read.

        Raises:
            FcpError: the file is missing, damaged or no support.
        """
        try:
            # Not mapped into memory: a file that is replaced later would change the tensors.
            content = Path(path).read_bytes()
            tensors, header = load(content), _header_of(content)
            text = header.get(_RECORD, "")
            values = _renewed(parse_json(text, "its record"), tensors)
            record = from_dict(_Record, values, "its record")
            if header.get(_CHECKSUM) != _checksum(text, tensors):
                raise FcpError("its checksum is wrong")
            return cls(**_parts(record, tensors))
        except FileNotFoundError as error:
            raise FcpError(f"{path}: no such file") from error
        except OSError as error:
            raise FcpError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (SafetensorError, FcpError, KeyError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise FcpError(
                f"{path}: damaged, or no support of fcp ({reason}); encode the examples anew"
            ) from error


def _header_of(content: bytes) -> Mapping[str, str]:
    """Return the texts beside the tensors of a safetensors file: a length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    texts: Mapping[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return texts


@dataclass(frozen=True)
class _AppearanceRecord:
    """Decision about an appearance, and the bias of its classifier; None where it has none."""

    share: float
    iou: float
    network_iou: float
    bias: float | None

    def __post_init__(self) -> None:
        check(self)
        for name in ("share", "iou", "network_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise FcpError(f"{name}: expected 0 … 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class _Record:
    """Content of a file beside its tensors; see ``Support``."""

    format: str
    model: str
    classes: list[str]
    has_negatives: bool
    entrants: list[Any]
    tile: int | None
    tile_was_chosen: bool
    appearances: list[_AppearanceRecord | None]

    def __post_init__(self) -> None:
        check(self)
        if self.format != FORMAT:
            raise FcpError(f"format: expected {FORMAT!r}, got {self.format!r}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise FcpError(f"classes: expected different names, got {self.classes}")
        if self.tile is not None and self.tile < 1:
            raise FcpError(f"tile: expected at least 1 px, got {self.tile}")
        entrants = len(self.classes) + self.has_negatives
        if len(self.entrants) != entrants:
            raise FcpError(f"entrants: expected {entrants}, got {len(self.entrants)}")
        if len(self.appearances) not in (0, entrants):
            raise FcpError(f"appearances: expected none or {entrants}, got {len(self.appearances)}")


def _renewed(values: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401  (any JSON value)
    """Return a file's record in the newest format; of an unknown one as it is."""
    if not isinstance(values, dict) or values.get("format") != OLDEST:
        return values
    rest = {name: value for name, value in values.items() if name != "fusion"}
    classes = values.get("classes")
    count = len(classes) if isinstance(classes, list) else 0
    count += values.get("has_negatives") is True
    entrants = [unpack_oldest(tensors, i, str(values.get("fusion"))) for i in range(count)]
    return {**rest, "format": FORMAT, "entrants": entrants}


def _record_of(appearance: Appearance) -> _AppearanceRecord:
    classifier = appearance.classifier
    bias = None if classifier is None else classifier.bias
    return _AppearanceRecord(**asdict(appearance.decision), bias=bias)


def _parts(record: _Record, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the fields of a support, built from a file's record and tensors."""
    broken = next((name for name, one in tensors.items() if not one.isfinite().all()), None)
    if broken is not None:
        raise FcpError(f"{broken} holds values that are not finite")
    entrants = [unpack(one, tensors) for one in record.entrants]
    if not all(is_dataclass(one) for one in entrants):
        raise FcpError("entrants: expected supports")
    return dict(
        model=record.model,
        classes=dict(zip(record.classes, entrants, strict=False)),
        negatives=entrants[-1] if record.has_negatives else None,
        tile=record.tile,
        tile_was_chosen=record.tile_was_chosen,
        appearances=[
            None if one is None else _appearance(tensors, f"{index}.appearance.", one)
            for index, one in enumerate(record.appearances)
        ],
    )


def _appearance(
    tensors: Mapping[str, Tensor], prefix: str, record: _AppearanceRecord
) -> Appearance:
    decision = Decision(record.share, record.iou, record.network_iou)
    if record.bias is None:
        return Appearance(None, decision)
    return Appearance(
        Classifier(bias=record.bias, **_fields(tensors, prefix, Classifier)), decision
    )


def _checksum(record: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash the record, and the tensors with their names."""
    digest = hashlib.sha256(record.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _fields(tensors: Mapping[str, Tensor], prefix: str, of: type) -> dict[str, Any]:
    """Return the fields of a dataclass that are single tensors."""
    names = [field.name for field in fields(of) if field.type == "Tensor"]
    return {name: tensors[prefix + name] for name in names}
