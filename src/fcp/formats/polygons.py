"""Masks ↔ polygons, in coordinates of pixel edges: pixel (r, c) covers [c, c + 1] × [r, r + 1].

A polygon is an array (P, 2) of x and y in px, not closed. It is filled by the even-odd rule: a
pixel belongs to it where its centre lies inside. The COCO API does so exactly for polygons along
pixel edges; slanted edges are rounded to a fifth of a pixel. Most formats have no holes: a hole is
joined to the outer ring by a bridge that is passed in both directions, so that it has no area.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType

import numpy as np
from pycocotools import mask as rle_tools

from fcp.data.prompts import SHARES, are_shares
from fcp.data.strips import edges as strips_of_rows
from fcp.errors import FcpError
from fcp.formats.run_lengths import RunLengths, overlap, to_runs, union

# In px. With a tolerance below a pixel, simplifying along pixel edges would keep most of the steps.
ALONG_EDGES = (8.0, 5.6, 4.0, 2.8, 2.0, 1.4)
WITHOUT_STEPS = (1.0, 0.7, 0.5, 0.35)
MAX_ERROR = 0.01  # of each part's area, and of the whole mask's IoU


def mask_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """Outline a mask with few corners.

    Corners are removed as long as each part's area stays within 1 %, no edge moves by more than 8
    px, and the IoU with the whole mask is at least 0.99. Parts for which this is impossible keep
    their exact pixel edges.

    Args:
        mask: Mask (H, W) bool.

    Returns:
        A polygon (P, 2) for each part, with its holes joined; none for an empty mask. Pixels that
        meet only at a corner are two parts.

    Raises:
        FcpError: shapely is not installed.
    """
    if not mask.any():
        return []
    return first_close(finer_polygons(mask), to_runs(mask))


def finer_polygons(mask: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield outlines of a mask (H, W) bool, not empty, with ever more corners.

    Each is a polygon (P, 2) for each part; the last follows the pixels' edges.
    """
    for parts in _ever_finer(exact_parts(mask)):
        yield [keyhole(part) for part in parts]


def first_close(tries: Iterable[list[np.ndarray]], runs: RunLengths) -> list[np.ndarray]:
    """Return the first outlines whose IoU with a mask is at least 0.99, or the last ones.

    Args:
        tries: Polygons (P, 2) that outline the mask, at least one try.
        runs: Run lengths of the mask.
    """
    for polygons in tries:
        if overlap(fill_polygons(polygons, runs["size"]), runs) >= 1 - MAX_ERROR:
            break
    return polygons


def join_polygons(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Join the parts of one object into one polygon of the same area, for formats with one each.

    The bridge between two parts is passed in both directions, so that it has no area.

    Args:
        polygons: Polygons (P, 2), at least one.

    Returns:
        (P, 2).
    """
    ordered = sorted(polygons, key=lambda polygon: tuple(polygon.min(axis=0)))
    loops = [_closed_at(ordered[0], 0)]
    for polygon in ordered[1:]:
        station = loops[-1][0]
        loops.append(_closed_at(polygon, int(np.argmin(((polygon - station) ** 2).sum(axis=1)))))
    way_back = [loop[:1] for loop in reversed(loops[:-1])]
    return _without_repeats(np.concatenate([*loops, *way_back]))


def move_inward(polygon: np.ndarray, by: float) -> np.ndarray:
    """Move each corner into the polygon along x and y, unless the edges there run along it.

    Args:
        polygon: Polygon (P, 2) with its inside to the left, as ``mask_polygons`` and
            ``join_polygons`` make them.
        by: Distance in px.
    """
    edges = np.roll(polygon, -1, axis=0) - polygon
    inside = np.stack([-edges[:, 1], edges[:, 0]], axis=1)
    inside /= np.linalg.norm(inside, axis=1, keepdims=True)
    moved: np.ndarray = polygon + by * np.sign((inside + np.roll(inside, 1, axis=0)).round(6))
    return moved


def fill_polygons(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> RunLengths:
    """Paint the union of polygons, whose points ``read_points`` has checked.

    Args:
        polygons: Polygons (P, 2) with P ≥ 3, at least one.
        size: Size (H, W) of the mask.
    """
    flat = [polygon.reshape(-1).tolist() for polygon in polygons]
    return union(rle_tools.frPyObjects(flat, *size))


def fill_ellipse(
    middle: Sequence[float] | np.ndarray,
    radii: Sequence[float] | np.ndarray,
    angle: float,
    size: tuple[int, int],
    where: str,
) -> RunLengths:
    """Paint an ellipse: the pixels whose centres lie in it.

    Args:
        middle: Middle x and y in px.
        radii: Radii along its own x and y, in px.
        angle: Angle of its x, clockwise, in radians.
        size: Size (H, W) of the mask.
        where: Name of the shape in an error.

    Raises:
        FcpError: a number is not finite, or a radius not positive.
    """
    if not np.isfinite([*middle, *radii, angle]).all() or min(radii) <= 0:
        raise FcpError(f"{where}: an ellipse without width, height or a valid rotation")
    rows, columns = np.ogrid[0.5 : size[0], 0.5 : size[1]]
    across, down = columns - middle[0], rows - middle[1]
    along = across * np.cos(angle) + down * np.sin(angle)
    beside = down * np.cos(angle) - across * np.sin(angle)
    return to_runs((along / radii[0]) ** 2 + (beside / radii[1]) ** 2 <= 1)


def read_points(values: object, size: tuple[int, int], where: str) -> np.ndarray:
    """Check coordinates that come from a file; a little outside the picture is usual.

    Args:
        values: Coordinates x and y in px, as pairs or flat.
        size: Size (H, W) of the picture.
        where: Name of the shape in an error.

    Returns:
        (P, 2) float64.

    Raises:
        FcpError: no list of points, a coordinate that is no number, a point further outside than
            the picture is wide or high (on which pycocotools would crash the process), or shares of
            the picture in place of px.
    """
    points = as_points(values, where, "px")
    refuse_far(points, size, where)
    if len(points) > 1 and are_shares(points, size):
        raise FcpError(f"{where}: {SHARES}")
    return points


def as_points(values: object, where: str, unit: str) -> np.ndarray:
    """Return coordinates that come from a file as an array.

    Args:
        values: Coordinates x and y, as pairs or flat.
        where: Name of the shape in an error.
        unit: Unit of the coordinates in an error.

    Returns:
        (P, 2) float64.

    Raises:
        FcpError: no list of points.
    """
    try:
        points = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(())
    if points.ndim == 1 and len(points) % 2 == 0:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise FcpError(f"{where}: expected a list of x and y in {unit}")
    return points


def refuse_far(points: np.ndarray, size: tuple[int, int], where: str) -> None:
    """Refuse points (P, 2) in px that lie far outside a picture (H, W), or are no numbers.

    Raises:
        FcpError: a point is further outside than the picture is wide or high.
    """
    far = np.array([size[1], size[0]])
    good = (np.isfinite(points) & (points >= -far) & (points <= 2 * far)).all(axis=1)
    if not good.all():
        x, y = points[~good][0]
        raise FcpError(
            f"{where}: the point ({x:g}, {y:g}) lies far outside the picture "
            f"({size[1]}×{size[0]} px); are these its annotations?"
        )


def _shapely() -> ModuleType:
    # Imported here because only two of the formats need it.
    try:
        import shapely
    except ImportError as error:
        raise FcpError(f"polygons need shapely ({error}); pip install 'shapely>=2.1'") from error
    return shapely


def _ever_finer(parts: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the parts simplified by each tolerance, or by a finer one that keeps each area.

    The fine tolerances start from outlines without the pixels' steps.
    """
    shapely = _shapely()
    smooth = _cut_corners(parts)
    tries = [shapely.simplify(parts, tolerance) for tolerance in ALONG_EDGES]
    tries += [shapely.simplify(smooth, tolerance) for tolerance in WITHOUT_STEPS]
    levels = np.stack([*tries, parts])
    areas = shapely.area(levels)
    keeps = shapely.is_valid(levels) & (abs(areas - areas[-1]) <= MAX_ERROR * areas[-1])
    for coarsest in range(len(levels)):
        level = coarsest + keeps[coarsest:].argmax(axis=0)
        yield levels[level, np.arange(len(parts))]


def _cut_corners(parts: np.ndarray) -> np.ndarray:
    """Move outlines from the pixels' corners to the middles of edges; none crosses a centre."""
    shapely = _shapely()
    steps = shapely.segmentize(parts, 1)
    points = shapely.get_coordinates(steps)
    counts = shapely.get_num_coordinates(shapely.get_rings(steps))
    last = np.cumsum(counts) - 1
    following = np.arange(1, len(points) + 1)
    following[last] = last - counts + 2  # a ring's last point is its first
    middles: np.ndarray = shapely.set_coordinates(steps, (points + points[following]) / 2)
    return middles


def exact_parts(mask: np.ndarray) -> np.ndarray:
    """Outline the parts of a mask along its pixel edges: (N,) of shapely's polygons."""
    shapely = _shapely()
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(_edges(mask))))
    # Holes are faces too: a face is foreground if the pixel in its topmost left corner is.
    points, face = shapely.get_coordinates(faces, return_index=True)
    order = np.lexsort((points[:, 0], points[:, 1], face))
    corners = points[order][np.unique(face, return_index=True)[1]].astype(int)
    parts: np.ndarray = shapely.orient_polygons(faces[mask[corners[:, 1], corners[:, 0]]])
    return parts


def _edges(mask: np.ndarray) -> np.ndarray:
    """Return the straight edges between fore- and background, cut at corners: (E, 2, 2) of x, y."""
    height, width = mask.shape
    strips = [_ends_of_edges(mask, *rows) for rows in strips_of_rows((height + 1, width + 1))]
    left, right, top, bottom = (np.concatenate(ends) for ends in zip(*strips, strict=True))
    # Horizontal edges come row by row; vertical ones, which may cross several strips, by column.
    top, bottom = (ends[np.lexsort((ends[:, 1], ends[:, 0]))] for ends in (top, bottom))
    starts, ends = np.concatenate([left, top]), np.concatenate([right, bottom])
    return np.stack([starts, ends], axis=1).astype(float)


def _ends_of_edges(
    mask: np.ndarray, first: int, end: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the ends of the edges on some rows of the grid (H + 1, W + 1) of pixel corners.

    Args:
        mask: Mask (H, W) bool.
        first: First row.
        end: End of the rows, exclusive.

    Returns:
        The left and right ends of horizontal edges, and the upper and lower ends of vertical ones,
        each (N, 2) of x and y, row by row.
    """
    outside = (int(first == 0), int(end > len(mask)))
    near = np.pad(mask[max(first - 1, 0) : end], (outside, (1, 1)))  # the rows above and below
    across = near[1:, 1:-1] != near[:-1, 1:-1]  # (N, W): edge from (c, r) to (c + 1, r)
    down = near[:, 1:] != near[:, :-1]  # (N + 1, W + 1): edge from (c, r - 1) to (c, r)
    touched = np.pad(across, ((0, 0), (1, 0))) | np.pad(across, ((0, 0), (0, 1)))
    corner = touched & (down[1:] | down[:-1])
    ends = (
        across & corner[:, :-1],
        across & corner[:, 1:],
        down[1:] & corner,
        down[:-1] & corner,
    )
    left, right, top, bottom = (np.argwhere(one)[:, ::-1] + (0, first) for one in ends)
    right[:, 0] += 1
    return left, right, top, bottom


def keyhole(part: object) -> np.ndarray:
    """Join the holes of one of shapely's polygons to its outer ring: (P, 2).

    Each hole is reached from the left of its leftmost corner, from the outer ring or from a hole
    further left, so that no bridge leaves the foreground.
    """
    shapely = _shapely()
    ring, *holes = [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(part)]
    for hole in sorted(holes, key=lambda hole: float(hole[:, 0].min())):
        loop = _closed_at(hole, int(hole[:, 0].argmin()))
        index, anchor = _first_to_the_left(ring, loop[0])
        ring = np.concatenate([ring[: index + 1], [anchor], loop, [anchor], ring[index + 1 :]])
    return _without_repeats(ring)


def _first_to_the_left(ring: np.ndarray, point: np.ndarray) -> tuple[int, np.ndarray]:
    """Go left from a point to the first edge of the ring around it: the edge's index, the place."""
    ends = np.roll(ring, -1, axis=0)
    (x0, y0), (x1, y1), (x, y) = ring.T, ends.T, point
    height = np.where(y0 == y1, 1, y1 - y0)  # horizontal edge: its neighbours are met instead
    met = np.where(y == y1, x1, x0 + (y - y0) / height * (x1 - x0))  # a corner is met exactly
    crosses = (y0 != y1) & (np.minimum(y0, y1) <= y) & (y <= np.maximum(y0, y1)) & (met <= x)
    index = int(np.where(crosses, met, -np.inf).argmax())
    return index, np.array([met[index], y])


def _closed_at(ring: np.ndarray, index: int) -> np.ndarray:
    """Walk a ring (P, 2) once around from one of its corners: (P + 1, 2)."""
    return np.concatenate([ring[index:], ring[: index + 1]])


def _without_repeats(ring: np.ndarray) -> np.ndarray:
    """Leave out corners that equal the one before."""
    return ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
