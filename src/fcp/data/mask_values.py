"""The values of a mask → foreground, and oddities of the mask.

Every nonzero value is foreground, since objects may be numbered. Soft edges (a painter's brush, a
resized mask, a network's probabilities) and JPEG's noise are not object numbers: they are cut at
half. They are distinguished by where the values below the highest lie: ids cover areas, soft values
lie along edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcp.data.strips import count_values
from fcp.data.textures import is_textured
from fcp.errors import FcpError

NEARLY = 0.9  # of the highest value: pixels above it count as full foreground
MOST_FRACTIONS = 256  # values that ids divided by 255 may have; a network's probabilities have more
RINGING, LEAST_ZEROS = 0.15, 0.01  # of a resized mask: of its highest value, and of its pixels
MOST_SHOWN = 5  # number of values in a note
STRAY = 4  # px; a mask of no more is hardly one
TRIMAP = frozenset({1, 2, 3})
MATTING = frozenset({0, 127, 128, 255})
SEVERAL = (
    "the mask has several values or colours, which all count as the object; a list of classes "
    "(classes.txt, or labelmap.txt of colours) beside the masks distinguishes them"
)


@dataclass(frozen=True, eq=False)
class MaskValues:
    """The numbers of a mask's file.

    Attributes:
        values: Values (H, W), or (H, W, C) with the transparency as the last of 2 or 4 bands.
        lossy: Whether the file's format changes values near edges.
        is_index: Whether values are indices of a palette.
        notes: Sentences on what was left out or assumed.
    """

    values: np.ndarray
    lossy: bool = False
    is_index: bool = False
    notes: Sequence[str] = ()


def of_palette(indices: np.ndarray, palette: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Decide whether indices of a palette or their colours tell the object from the background.

    Indices count as they are: 0 is the background. A palette that shows another index as black
    contradicts that; black and white alone are told apart by colour, and so is the background where
    no pixel has the index 0.

    Args:
        indices: Indices (H, W) uint8.
        palette: Colour (P, 3) uint8 of each index.
        name: Name of the mask in an error.

    Returns:
        Values (H, W) whose 0 is the background, and what was assumed, if anything.

    Raises:
        FcpError: index 0 has a colour, and another one is black.
    """
    used = np.flatnonzero(count_values(indices))
    black = [index for index in used if index < len(palette) and not palette[index].any()]
    if not black or 0 in black:
        return indices, []
    others = [index for index in used if index not in black]
    if len(others) == 1 and (palette[others[0]] == 255).all():
        return indices == others[0], ["the palette's white is the object, and its black is not"]
    if 0 not in used:
        told = ["no pixel has the value 0, and the palette's black is the background"]
        return (_only(indices, others), told) if others else (indices, [])
    raise FcpError(
        f"{name}: its palette shows the value 0 in a colour and {black[0]} as black: which is the "
        "background? Save it as a grey PNG, with 0 for the background"
    )


def without_transparent(
    indices: np.ndarray, palette: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Take what a palette shows as transparent for the background, where it shows anything else.

    Args:
        indices: Indices (H, W) uint8.
        palette: Colour (P, 3) uint8 of each index.
        alpha: How opaque each index is, (256,) uint8.

    Returns:
        Values (H, W) whose 0 is the background, and what was assumed; the indices and nothing where
        nothing is transparent, everything is, or the index 0 alone, which shows no colour.
    """
    used = np.flatnonzero(count_values(indices))
    half = 128 if alpha[used].max() >= 128 else 1
    hidden, seen = used[alpha[used] < half], used[alpha[used] >= half]
    shown = [index for index in seen if index >= len(palette) or palette[index].any()]
    if not len(hidden) or not len(seen) or (hidden.tolist() == [0] and not palette[0].any()):
        return indices, []
    return _only(indices, shown or seen), ["what its palette shows as transparent is no object"]


def _only(indices: np.ndarray, objects: Sequence[np.integer] | np.ndarray) -> np.ndarray:
    """Number some indices from 1; the others become 0."""
    table = np.zeros(256, np.uint8)
    table[list(objects)] = np.arange(1, len(objects) + 1)
    values: np.ndarray = table[indices]
    return values


def of_bands(values: np.ndarray, name: str, *, alpha: bool) -> np.ndarray:
    """Return the values of a mask of several bands, unless they are masks of their own.

    Args:
        values: Values (H, W) or (H, W, C) of a file that does not declare colours of 8 bits.
        name: Name of the mask in an error.
        alpha: Whether the last band is the transparency.

    Raises:
        FcpError: bands that are neither colours nor transparency.
    """
    colours = (1, 3) if not alpha else (2, 4)
    if values.ndim == 3 and values.shape[2] not in colours:
        raise FcpError(
            f"{name}: holds {values.shape[2]} bands; save the mask of one object as one band"
        )
    return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values


def foreground(
    values: np.ndarray, *, lossy: bool = False, is_index: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Decide which pixels of a mask are foreground.

    Args:
        values: Values (H, W), or (H, W, C) with the transparency as the last of 2 or 4 bands.
        lossy: Whether the file's format changes values near edges (JPEG).
        is_index: Whether values are indices of a palette, which are never soft.

    Returns:
        (H, W) bool, and one sentence for each oddity.
    """
    grey, notes = _grey(values)
    if grey.dtype.kind in "if" and _are_scores(grey):
        mask = grey > 0
        notes.append("the mask has negative values: what is above 0 is the object")
        return mask, notes + oddities(mask)
    if grey.dtype.kind == "f":
        grey = np.nan_to_num(grey, nan=0, posinf=0, neginf=0)
    found = _values_of(grey)
    if found[0] < 0 < found[-1]:
        notes.append(f"the mask has negative values ({found[0]:g}), which are no object")
        grey, found = np.maximum(grey, 0), [value for value in found if value >= 0]
    may_be_soft = not is_index and grey.dtype != bool and found[-1] > 0
    has_fractions = any(value % 1 for value in found) and (
        found[0] > 0 or len(found) > MOST_FRACTIONS
    )
    if may_be_soft and (lossy or has_fractions or _is_soft(grey, found)):
        mask = grey > grey.max() / 2
        if not np.array_equal(mask, grey != 0):
            kind = "a lossy format" if lossy else "fractions" if has_fractions else "soft edges"
            notes.append(f"the mask has {kind}: its greys are cut at half")
    else:
        mask = grey != 0
        several = sum(value != 0 for value in found) > 1 or _has_colours(values)
        if not mask.all() and several and grey.dtype != bool:
            notes.append(SEVERAL)
    return mask, notes + oddities(mask, found)


def oddities(mask: np.ndarray, values: Sequence[float] | None = None) -> list[str]:
    """Return notes on a mask that is probably a mistake: nothing but a click, all, or inverted.

    Args:
        mask: Mask (H, W) bool.
        values: Distinct values that the mask was made of, ascending; None for the mask's own.
    """
    covered = int(np.count_nonzero(mask))
    share = covered / mask.size
    if 0 < covered <= STRAY < mask.size / 4:
        return [f"the mask covers {covered} px alone; is it a stray click?"]
    if share <= 0.5:
        return []
    found = _values_of(mask) if values is None else values
    if share == 1:
        said = f"the mask covers every pixel (its values: {_listed(found)})"
        if set(found) <= TRIMAP and len(found) > 1:
            return [
                f"{said}; if it is a trimap (1 object, 2 background, 3 border), save it with 0 for "
                "the background"
            ]
        return [f"{said}; 0 is the background"]
    if looks_inverted(mask):
        return [
            f"the mask covers {share:.0%} of the picture and touches all four edges (its values: "
            f"{_listed(found)}); is it inverted?"
        ]
    return []


def refuse_without_background(values: np.ndarray, name: str) -> None:
    """Refuse a mask in colours of which none is black, which would be the background.

    Args:
        values: Values as of ``MaskValues``.
        name: Name of the mask in an error.

    Raises:
        FcpError: several colours, and no black.
    """
    packed = _packed_colours(values)
    if packed is None or packed.min() == 0 or packed.min() == packed.max():
        return
    colours, counts = np.unique(packed, return_counts=True)
    most = colours[np.argsort(-counts, kind="stable")]
    shown = ", ".join(f"#{colour:06x}" for colour in most[:MOST_SHOWN])
    shown += " …" if len(most) > MOST_SHOWN else ""
    raise FcpError(
        f"{name}: a mask in the colours {shown}, of which none is the background; "
        "paint what is no object black"
    )


def trimap_object(values: np.ndarray) -> np.ndarray | None:
    """Return the object of a trimap, without its uncertain border.

    Args:
        values: Values (H, W) of a mask that is called a trimap.

    Returns:
        (H, W) bool: the value 1 of 1 object, 2 background and 3 border (Oxford-IIIT Pet), or 255 of
        0 background, 127 … 128 unknown and 255 object (matting); None for other values.
    """
    found = set(np.unique(values).tolist()) if values.ndim == 2 else set()
    for known, inner in ((TRIMAP, 1), (MATTING, 255)):
        if found <= known and inner in found:
            mask: np.ndarray = values == inner
            return mask
    return None


def looks_inverted(mask: np.ndarray) -> bool:
    """Return whether a mask (H, W) bool covers over half of its picture and touches all edges."""
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return bool(mask.mean() > 0.5 and all(edge.any() for edge in edges))


def _has_colours(values: np.ndarray) -> bool:
    """Return whether a mask has several colours besides black."""
    packed = _packed_colours(values)
    if packed is None:
        return False
    seen = np.zeros(1 << 24, bool)
    seen[packed] = True
    return int(seen[1:].sum()) > 1


def _packed_colours(values: np.ndarray) -> np.ndarray | None:
    """Return each pixel's red, green and blue as one number (H, W); None if it has no colour."""
    if values.ndim == 2 or values.shape[2] < 3 or values.dtype != np.uint8:
        return None
    packed: np.ndarray = values[..., 0].astype(np.int32) << 16
    packed |= values[..., 1].astype(np.int32) << 8
    packed |= values[..., 2]
    return packed


def _are_scores(grey: np.ndarray) -> bool:
    """Return whether numbers (H, W) are positive on the object, and negative elsewhere (logits).

    One negative number beside ids or shares stands for "nothing here", and some small ones beside
    zeros for the ringing of a resized mask.
    """
    found = np.unique(grey[~np.isnan(grey)])
    below, above = found[found < 0], found[found > 0]
    if not below.size or not above.size:
        return False
    if -below[0] <= RINGING * above[-1] and (grey == 0).mean() > LEAST_ZEROS:
        return False
    finite = above[np.isfinite(above)]
    has_scores = above[-1] > 1 and bool((finite % 1).any())
    return below.size > 1 or has_scores or bool(np.isinf(below[0]))


def _grey(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Convert a colour mask to one band, and say what was assumed; transparent pixels become 0."""
    if values.ndim == 2:
        return values, []
    has_alpha = values.shape[2] in (2, 4)
    colours = values[..., :-1] if has_alpha else values
    grey: np.ndarray = colours.max(axis=2)
    if not has_alpha:
        return grey, []
    alpha = values[..., -1]
    varies = alpha.min() < alpha.max()
    if not grey.any():  # all is black: what is drawn can only be the transparency
        return (alpha if varies else grey), []
    seen = alpha > alpha.max() / 2 if _is_soft(alpha, _values_of(alpha)) else alpha != 0
    if varies and is_textured(grey, seen):
        return seen, ["the mask is a cut-out in its own colours: all that is opaque is the object"]
    return np.where(seen, grey, grey.dtype.type(0)), []


def _is_soft(grey: np.ndarray, found: Sequence[float]) -> bool:
    """Return whether most of the values between 0 and the highest lie along an edge."""
    if grey.dtype == bool:
        return False
    nearly = NEARLY * grey.max()
    if not any(0 < value < nearly for value in found):
        return False
    between = (grey > 0) & (grey < nearly)
    padded = np.pad(grey, 1, mode="edge")
    height, width = grey.shape
    shifts = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    highest, lowest = np.maximum.reduce(shifts), np.minimum.reduce(shifts)
    along_edge = (highest > grey) & (lowest < grey)
    # An outline drawn around ids is an edge too, but not a soft one: a pixel of a soft edge has a
    # lower and a higher neighbour.
    return float(along_edge[between].mean()) > 0.5


def _values_of(values: np.ndarray) -> list[float]:
    if values.dtype in (np.uint8, np.bool_) and values.ndim == 2:
        return np.flatnonzero(count_values(values)).astype(float).tolist()
    return np.unique(values).astype(float).tolist()


def _listed(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:MOST_SHOWN])
    return f"{shown} …" if len(values) > MOST_SHOWN else shown
