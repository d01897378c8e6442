"""``report.html``: one self-contained page about a run over many photos.

The page holds the results as JSON and, separately, the thumbnails as comments in base64, which a
browser skips and the page decodes when they come near the screen. 5,000 photos of
five classes with thumbnails of 5.6 kB are 40 MB. Chromium 156 on two busy cores of a CPU paints the
first content after 0.09 s, has read all after 0.6 s and shows a new choice within 0.07 s, with 5 MB
of JS heap (``python benchmarks/report_page.py``).

No name or message is ever parsed as HTML: it goes through the JSON, in which each ``<`` is escaped,
and reaches the page as text. As a second barrier, the content security policy of the page allows
only our script, by its hash, and no loading of other files.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fcp.report.entries import ReportClass, ReportPicture
from fcp.system.files import Spool, open_atomically
from fcp.visualize import Colour


def write_report(
    path: Path,
    pictures: Iterable[ReportPicture],
    *,
    title: str,
    facts: Mapping[str, str],
    colours: Mapping[str, Colour],
) -> None:
    """Write the page.

    Photos are read one at a time and kept in temporary files beside the page, so that memory does
    not grow with their number. An earlier page stays until the new one is complete.

    Args:
        path: File of the page.
        pictures: Photos in any order; the page sorts them.
        title: Title of the page.
        facts: Facts about the run (model, examples, date, …), name → value, in order.
        colours: Class → its colour, RGB 0 … 255, in the order of the legend.

    Raises:
        FcpError: the page cannot be written; no file is left.
        ValueError: a photo's class has no colour.
    """
    classes = [{"name": name, "colour": _hexadecimal(colour)} for name, colour in colours.items()]
    run = {"title": title, "facts": list(facts.items()), "classes": classes}
    places = {name: place for place, name in enumerate(colours)}
    before, between, behind, end = _template()
    with Spool(path) as entries, Spool(path) as thumbnails:
        for number, picture in enumerate(pictures):
            entries.write((b",\n" if number else b"") + _json(_entry(picture, places)))
            encoded = base64.b64encode(picture.thumbnail or b"")
            thumbnails.write(b"<!--" + encoded + b"-->\n")
        with open_atomically(path) as page:
            page.write(before + _json(run) + between + b"[")
            entries.copy_to(page)
            page.write(b"]" + behind)
            thumbnails.copy_to(page)
            page.write(end)


def _template() -> list[bytes]:
    """Return the page in four parts; run, photos and thumbnails are inserted between them."""
    folder = files("fcp") / "report"
    page, style, pure, rest = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "select.js", "page.js")
    )
    script = pure + rest
    page = page.replace("{{style_hash}}", _hash(style)).replace("{{script_hash}}", _hash(script))
    page = page.replace("{{style}}", style).replace("{{script}}", script)
    parts = []
    for name in ("run", "pictures", "thumbnails"):
        part, page = page.split("{{" + name + "}}")
        parts.append(part.encode())
    return [*parts, page.encode()]


def _hash(text: str) -> str:
    """Return the hash of a script or style in the form of a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: object) -> bytes:
    """Encode in ASCII, without the ``<`` that could end a script element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").encode("ascii")


def _entry(picture: ReportPicture, places: Mapping[str, int]) -> dict[str, Any]:
    """Return a photo as the page reads it; classes are given by their place in the legend."""
    for found in picture.classes:
        if found.name not in places:
            raise ValueError(f"write_report: {picture.file}: class {found.name!r} has no colour")
    return {
        "file": picture.file,
        "seconds": round(picture.seconds, 3),
        "size": picture.size,
        "error": picture.error,
        "classes": [_class_entry(found, places[found.name]) for found in picture.classes],
    }


def _class_entry(found: ReportClass, place: int) -> dict[str, Any]:
    return {
        "class": place,
        "score": _rounded(found.score),
        "presence": _rounded(found.presence),
        "here": found.here,
        "area": round(found.area, 6),
        "px": found.area_px,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _hexadecimal(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
