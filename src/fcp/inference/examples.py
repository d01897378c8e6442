"""The user's examples: reading, outlines of what marks are on, and refusal of what is no task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcp.checks import require
from fcp.data.decode import ImageLike
from fcp.data.prompts import Annotation, Box, Mark, marks_of, read_support
from fcp.errors import FcpError
from fcp.inference.arguments import require_mask_of_numbers
from fcp.inference.networks.base import AnyNetwork
from fcp.inference.outlines import outline
from fcp.inference.prediction import ONLY_CLASS
from fcp.inference.tiling import Marked

Examples = Iterable[tuple[ImageLike, Annotation]]


@dataclass(frozen=True)
class Given:
    """The examples of one class.

    Attributes:
        pairs: Pictures (H, W, 3) with their masks (H, W).
        marks: Marks that the mask of each was made from; none if it was given as a mask.
    """

    pairs: Sequence[Marked]
    marks: Sequence[tuple[Mark, ...]]

    @property
    def exact(self) -> list[bool]:
        """Whether the mask of each was given as a mask; what is made from marks is less exact."""
        return [not marks for marks in self.marks]


def read_classes(examples: Examples | Mapping[str, Examples]) -> dict[str, Given]:
    """Read the examples of each class.

    Raises:
        FcpError: no class at all, a name that is no text, or an unreadable example; the message
            names the class.
    """
    named = examples if isinstance(examples, Mapping) else {ONLY_CLASS: examples}
    if not named:
        raise FcpError("examples: expected at least one class, got none")
    for name in named:
        require(isinstance(name, str), "examples", "names of classes as text", name)
    return {name: read_given(pairs, _of(name)) for name, pairs in named.items()}


def read_given(examples: Examples, of: str = "") -> Given:
    """Read the examples of one class, maybe none.

    Args:
        examples: Pairs of a picture and its annotation.
        of: Words after "examples" in an error.

    Raises:
        FcpError: an example cannot be read, or is no such pair.
    """
    pairs, marks = [], []
    for number, (picture, annotation) in enumerate(_pairs(examples, of), start=1):
        try:
            require_mask_of_numbers(annotation)
            pairs.append(read_support(picture, annotation))
        except FcpError as error:
            if isinstance(picture, str | Path):
                raise  # the message names the file
            raise FcpError(f"examples{of}: number {number}: {error}") from error
        marks.append(marks_of(annotation))
    return Given(pairs, marks)


def _pairs(examples: Examples, of: str) -> Iterator[tuple[ImageLike, Annotation]]:
    """Yield the examples, each checked to be a pair."""
    expected = f"examples{of}: expected (picture, annotation) pairs, as in [(photo, mask)]"
    if not isinstance(examples, Iterable):
        raise FcpError(f"{expected}; got {type(examples)}")
    for pair in examples:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise FcpError(f"{expected}; an item is of {type(pair)}")
        yield pair[0], pair[1]


def _of(name: str) -> str:
    return "" if name == ONLY_CLASS else f" of {name!r}"


def with_outlines(network: AnyNetwork, given: Given) -> Given:
    """Add the outline of what points and scribbles are on to the masks of the examples.

    Boxes stay filled: their outlines make no better examples (docs/lab/small.md). Without a
    promptable segmenter nothing is added.

    Args:
        network: Network whose promptable segmenter draws the outlines.
        given: Examples of one class, maybe none.
    """
    if network.promptable is None:
        return given
    pairs = []
    for (pixels, mask), marks in zip(given.pairs, given.marks, strict=True):
        lines = [mark for mark in marks if not isinstance(mark, Box)]
        pairs.append((pixels, mask | outline(network, pixels, lines) if lines else mask))
    return replace(given, pairs=pairs)


def refuse_no_task(classes: Mapping[str, Given], negatives: Given) -> None:
    """Refuse a class without examples, and two that mark the same pixels of the same picture.

    Raises:
        FcpError: a class has no example, or two mark the same pixels; the message names them.
    """
    for name, given in classes.items():
        _refuse_no_example(name, given.pairs, has_negatives=bool(negatives.pairs))
    owners: dict[bytes, tuple[str, int]] = {}
    for name, given in (*classes.items(), ("the negative examples", negatives)):
        for number, (image, mask) in enumerate(given.pairs, start=1):
            hashed = hashlib.sha256(np.ascontiguousarray(image).data)
            hashed.update(np.ascontiguousarray(mask).data)
            digest = hashed.digest()
            owner, first = owners.setdefault(digest, (name, number))
            if owner != name:
                raise FcpError(
                    f"examples: {owner!r} and {name!r} mark the same pixels of the same picture "
                    f"(numbers {first} and {number} of their examples); leave it out of one of them"
                )


def _refuse_no_example(name: str, pairs: Sequence[object], *, has_negatives: bool) -> None:
    if not pairs:
        alone = "; negative examples alone do not say what to find" if has_negatives else ""
        raise FcpError(
            f"examples: expected at least one (picture, annotation) pair{_of(name)}, "
            f"got none{alone}"
        )
