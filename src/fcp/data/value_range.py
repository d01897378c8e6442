"""Numbers of any type and range → 8 bits.

By default ("auto") a picture of 8 bits is not changed and floats in 0 … 1 are multiplied by 255.
Unsigned numbers are divided by 2ᵇ - 1, where b is the smallest even number of bits that holds them,
so that 12 bits in a file of 16 give the same result as the picture shifted to the top bits. Other
floats and signed numbers are stretched from their smallest to their largest. Assumptions are
reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fcp.errors import FcpError

EXPECTED = "auto, full, LOW:HIGH or pLOW:pHIGH (percentiles), such as 0:4095 or p1:p99"
FAINT = 32  # of 255: a picture with a smaller span of values is hardly visible
MOST_SAMPLED = 1 << 20  # number of values used for percentiles
VALUES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class ValueRange:
    """Rule for the values of a picture that become black and white.

    Attributes:
        kind: Kind of the rule; "auto" and "full" (all of the number type) need no limits.
        low: Value that becomes black, or a percentile 0 … 100.
        high: Value that becomes white, or a percentile 0 … 100.
    """

    kind: Literal["auto", "full", "values", "percentiles"] = "auto"
    low: float = 0
    high: float = 0

    @classmethod
    def parse(cls, text: str) -> ValueRange:
        """Read an option.

        Raises:
            FcpError: not a range, or a range with its ends in the wrong order.
        """
        if text in ("auto", "full"):
            return cls("full" if text == "full" else "auto")
        parts = text.split(":")
        percent = all(part.startswith("p") for part in parts)
        try:
            low, high = (float(part.removeprefix("p") if percent else part) for part in parts)
        except ValueError:
            raise FcpError(f"--range: expected {EXPECTED}; got {text!r}") from None
        inside = not percent or (low >= 0 and high <= 100)
        if not (np.isfinite([low, high]).all() and low < high and inside):
            raise FcpError(f"--range: expected {EXPECTED}; got {text!r}")
        return cls("percentiles" if percent else "values", low, high)


AUTO = ValueRange()


def to_uint8(
    values: np.ndarray, chosen: ValueRange, name: str, nodata: float | None = None
) -> tuple[np.ndarray, list[str]]:
    """Scale numbers to 8 bits; numbers that are not finite, or no data, are ignored.

    Args:
        values: Numbers of any shape.
        chosen: Rule for black and white.
        name: Name of the picture in an error.
        nodata: Value that stands for "nothing measured here"; it becomes black.

    Returns:
        uint8 of the same shape, and a sentence for each assumption.

    Raises:
        FcpError: no numbers, or none of them finite.
    """
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255), []
    if values.dtype == np.uint8 and chosen.kind in ("auto", "full"):
        return np.ascontiguousarray(values), []
    limits, notes = find_limits([values], values.size, chosen, name, nodata)
    eight = np.empty(values.shape, np.uint8)
    for part, into in zip(_parts(values), _parts(eight), strict=True):
        into[...] = _scaled(part, limits, nodata)
    return eight, notes


def opacity_range(bands: np.ndarray) -> ValueRange:
    """Return which values of a picture's transparency are clear and opaque.

    Whole numbers have as many bits as all bands need, since a file of 16 bits may hold 8 or 12.
    Floats reach to 1, or where they exceed it as whole numbers do.

    Args:
        bands: Numbers (H, W, 4) of red, green, blue and transparency.
    """
    is_float = bands.dtype.kind == "f"
    counted = bands[..., 3] if is_float else bands
    most = float(counted.max(where=np.isfinite(counted), initial=0))
    if bands.dtype in (bool, np.uint8) or (is_float and most <= 1):
        return ValueRange("full")
    return ValueRange("values", 0, 2 ** _even_bits(most) - 1)


def find_limits(
    parts: Iterable[np.ndarray],
    count: int,
    chosen: ValueRange,
    name: str,
    nodata: float | None = None,
) -> tuple[tuple[float, float], list[str]]:
    """Find which values of a picture become black and white.

    Args:
        parts: Parts of the picture, of one number type.
        count: Number of values in all parts.
        chosen: Rule for black and white.
        name: Name of the picture in an error.
        nodata: Value that stands for "nothing measured here".

    Returns:
        The values of black and white, and a sentence for each assumption.

    Raises:
        FcpError: as ``to_uint8``.
    """
    stats = _measure(parts, max(1, count // MOST_SAMPLED), name, nodata)
    low, high, note = _limits(stats, chosen)
    notes = [note] if note else []
    ends = _scaled(np.array([stats.least, stats.most]), (low, high), None)
    span = int(ends[1]) - int(ends[0])
    if chosen.kind == "auto" and 0 < span < FAINT:
        notes.append(
            f"hardly any contrast: its values {_shown(stats.least)} … {_shown(stats.most)} become "
            f"{span + 1} of 256 greys; --range p1:p99 spreads them"
        )
    return (low, high), notes


@dataclass(frozen=True)
class _Statistics:
    """Statistics of a picture's numbers.

    Attributes:
        kind: Number type.
        least: Smallest value that counts.
        most: Largest value that counts.
        sample: Values (N,) that count, evenly spread.
    """

    kind: np.dtype[Any]
    least: float
    most: float
    sample: np.ndarray


def _measure(
    parts: Iterable[np.ndarray], step: int, name: str, nodata: float | None
) -> _Statistics:
    ends: list[float] = []
    samples = [np.empty(0)]
    kind = np.dtype(np.uint8)
    for part in (small for one in parts for small in _parts(one)):
        kind = part.dtype
        if kind.kind not in "uif":
            raise FcpError(f"{name}: expected numbers, got {kind}")
        used = part[_counts(part, nodata)]
        if used.size:
            ends += [float(used.min()), float(used.max())]
            samples.append(used[::step].copy())  # a view would keep all of them
    if not ends:
        raise FcpError(f"{name}: none of its values is a finite number")
    return _Statistics(kind, min(ends), max(ends), np.concatenate(samples[1:]))


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield pieces of an array, along its first axis, so that no large copy of it is made."""
    if values.ndim < 2:
        yield values
        return
    rows = max(1, VALUES_AT_ONCE // max(1, values[0].size))
    yield from (values[top : top + rows] for top in range(0, len(values), rows))


def _counts(values: np.ndarray, nodata: float | None) -> np.ndarray:
    """Return a mask (…) bool of the values that count."""
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    return valid if nodata is None else valid & (values != nodata)


def _scaled(values: np.ndarray, limits: tuple[float, float], nodata: float | None) -> np.ndarray:
    low, high = limits
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    # Infinite values become black or white; what is no number at all becomes black.
    eight = np.rint(np.clip(np.nan_to_num(scaled, nan=0, posinf=255, neginf=0), 0, 255))
    if nodata is not None:
        eight[values == nodata] = 0
    return eight.astype(np.uint8)


def _limits(stats: _Statistics, chosen: ValueRange) -> tuple[float, float, str]:
    """Return the values of black and white, and the assumption."""
    if chosen.kind == "values":
        return chosen.low, chosen.high, ""
    if chosen.kind == "percentiles":
        low, high = _percentiles(stats.sample, chosen.low, chosen.high)
        return low, (high if high > low else low + 1), ""
    if chosen.kind == "full":
        if stats.kind.kind == "f":
            return 0, 1, ""
        kind = np.iinfo(stats.kind)
        return kind.min, kind.max, ""
    if stats.kind.kind == "f" and stats.least >= 0 and stats.most <= 1:
        return 0, 1, ""
    if stats.kind.kind == "f" or stats.least < 0:
        least, most = stats.least, stats.most
        note = f"values {_shown(least)} … {_shown(most)} become black … white (--range)"
        return least, (most if most > least else least + 1), note
    return _by_bits(stats)


def _by_bits(stats: _Statistics) -> tuple[float, float, str]:
    """Find how many bits unsigned numbers have; a few hot pixels do not count."""
    (most,) = _percentiles(stats.sample, 99.9)
    bits = _even_bits(most)
    size = 8 * stats.kind.itemsize
    note = ""
    if bits < size and (stats.kind.kind == "u" or bits > 8):
        note = (
            f"its values ({_shown(stats.least)} … {_shown(stats.most)}) are taken for {bits} bits "
            f"in {size}; where other photos or the examples are taken for more or fewer, "
            "--range p1:p99 makes them alike"
        )
    return 0, float((1 << bits) - 1), note


def _even_bits(most: float) -> int:
    """Return the smallest even number of bits, 8 or more, that holds a number."""
    bits = max(8, int(most).bit_length())
    return bits + bits % 2


def _percentiles(sample: np.ndarray, *at: float) -> list[float]:
    return np.percentile(sample, at).astype(float).tolist()


def _shown(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
