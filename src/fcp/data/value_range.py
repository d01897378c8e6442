"""Numbers of a picture with any type and range → 8 bits.

By itself ("auto") a picture of 8 bits stays as it is, floats in 0 … 1 are multiplied by 255, and
unsigned numbers are divided by the largest of the smallest even number of bits that holds them, so
that 12 bits in a file of 16 look like the same picture shifted to the top. Other floats and signed
numbers go from their smallest to their largest. What was assumed is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fcp.errors import FcpError

EXPECTED = "auto, full, LOW:HIGH or pLOW:pHIGH (percentiles), such as 0:4095 or p1:p99"
FAINT = 32  # of 255: a picture whose values span less shows next to nothing
MOST_LOOKED_AT = 1 << 20  # values, for percentiles


@dataclass(frozen=True)
class ValueRange:
    """Which values of a picture become black and white.

    Attributes:
        kind: "auto" and "full" (all of the number type) need no limits.
        low: black: a value, or a percentile 0 … 100.
        high: white, likewise.
    """

    kind: Literal["auto", "full", "values", "percentiles"] = "auto"
    low: float = 0
    high: float = 0

    @classmethod
    def parse(cls, text: str) -> ValueRange:
        """Read an option.

        Raises:
            FcpError: no range, or one whose ends are in the wrong order.
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
    """Scale numbers to 8 bits; what is not finite, or no data, does not count.

    Args:
        values: of any shape.
        chosen: black and white.
        name: what to call the picture in an error.
        nodata: the value that stands for "nothing measured here"; becomes black.

    Returns:
        uint8 of the same shape, and what was assumed, if anything.

    Raises:
        FcpError: no numbers, or none of them finite.
    """
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255), []
    if values.dtype.kind not in "uif":
        raise FcpError(f"{name}: expected numbers, got {values.dtype}")
    if values.dtype == np.uint8 and chosen.kind in ("auto", "full"):
        return np.ascontiguousarray(values), []
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if nodata is not None:
        valid &= values != nodata
    if not valid.any():
        raise FcpError(f"{name}: none of its values is a finite number")
    used = values[valid]
    low, high, note = _limits(used, chosen)
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    # Infinite values become black or white; what is no number at all becomes black.
    eight = np.rint(np.clip(np.nan_to_num(scaled, nan=0, posinf=255, neginf=0), 0, 255))
    if nodata is not None:
        eight[values == nodata] = 0
    notes = [note] if note else []
    span = np.ptp(eight[valid])
    if chosen.kind == "auto" and 0 < span < FAINT:
        notes.append(
            f"hardly any contrast: its values {_shown(used.min())} … {_shown(used.max())} become "
            f"{span + 1:.0f} of 256 greys; --range p1:p99 spreads them"
        )
    return eight.astype(np.uint8), notes


def _limits(used: np.ndarray, chosen: ValueRange) -> tuple[float, float, str]:
    """Return the values of black and white, and what was assumed."""
    if chosen.kind == "values":
        return chosen.low, chosen.high, ""
    if chosen.kind == "percentiles":
        low, high = _percentiles(used, chosen.low, chosen.high)
        return low, (high if high > low else low + 1), ""
    if chosen.kind == "full":
        if used.dtype.kind == "f":
            return 0, 1, ""
        kind = np.iinfo(used.dtype)
        return kind.min, kind.max, ""
    least, most = float(used.min()), float(used.max())
    if used.dtype.kind == "f" and least >= 0 and most <= 1:
        return 0, 1, ""
    if used.dtype.kind == "f" or least < 0:
        note = f"values {_shown(least)} … {_shown(most)} become black … white (--range)"
        return least, (most if most > least else least + 1), note
    return _by_bits(used)


def _by_bits(used: np.ndarray) -> tuple[float, float, str]:
    """Find how many bits unsigned numbers have; a few hot pixels do not count."""
    (most,) = _percentiles(used, 99.9)
    bits = max(8, int(most).bit_length())
    bits += bits % 2
    note = ""
    if bits < 8 * used.dtype.itemsize and (used.dtype.kind == "u" or bits > 8):
        note = (
            f"its values ({_shown(used.min())} … {_shown(used.max())}) are taken for {bits} bits "
            f"in {8 * used.dtype.itemsize} (--range full for all of them)"
        )
    return 0, float((1 << bits) - 1), note


def _percentiles(used: np.ndarray, *at: float) -> list[float]:
    flat = used.ravel()
    return np.percentile(flat[:: max(1, flat.size // MOST_LOOKED_AT)], at).astype(float).tolist()


def _shown(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
