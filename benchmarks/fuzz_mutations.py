"""Ways to damage a file: its bytes, its text, and the tree of values that it holds."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

PNG_HEAD = 8
ODD_VALUES = (
    *(None, True, -1, 0, 1, 2.5, 255, 70_000, 2**31, 2**63, 10**30, 10**400, 1e308, -1e308),
    *(float("nan"), float("inf"), "", " ", "1", "x", "\ud800", "a\0b", "../../x", "é" * 300),
    *([], {}, [[]], [1], [None], [[1, 2]], {"a": 1}, {"counts": "0", "size": [1, 1]}),
)
ODD_TEXT = (
    *("nan", "inf", "-1", "0", "1e308", "1e400", "9" * 30, "9" * 5000, "", " ", "x", "²", "٣"),
    *("\0", "\ud7ff", "\ufeff", "\u2028", ",", ":", ";", '"', "<", "&", "#", "[", "{", "- ", "\t"),
)
ENCODINGS = ("utf-16", "utf-32", "utf-8-sig", "latin-1", "cp1252")
YAML_ODD = (
    *("2001-99-99", "!!binary x", "!!timestamp x", "!!int x", "!!float x", "!!python/object:x {}"),
    *("&a [*a]", "*gone", "0x_", "0b", "1:99", "? [1]\n: 2", "{[1]: 2}", "<<: 1", "!!set {a}", "~"),
)


def mutation(
    files: Sequence[Path], kind: str, name: str, number: int, seed: int
) -> tuple[Path, bytes]:
    """Draw one of the files, and what it holds after it was damaged."""
    draw = random.Random(f"{seed}/{name}/{number}")  # noqa: S311  (no secret)
    file = draw.choice(files)
    return file, draw.choice(MUTATIONS[kind])(file.read_bytes(), draw)


def _bits(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _piece(content: bytes, draw: random.Random) -> tuple[int, int]:
    """Draw a piece of some length, short ones more often."""
    length = min(len(content), int(2 ** draw.uniform(0, 10)))
    start = draw.randrange(len(content) - length + 1)
    return start, start + length


def _cut_end(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def _cut_out(content: bytes, draw: random.Random) -> bytes:
    start, end = _piece(content, draw)
    return content[:start] + content[end:]


def _double(content: bytes, draw: random.Random) -> bytes:
    start, end = _piece(content, draw)
    times = draw.choice((2, 2, 3, 1000))
    return content[:start] + content[start:end] * times + content[end:]


def _move(content: bytes, draw: random.Random) -> bytes:
    start, end = _piece(content, draw)
    rest = content[:start] + content[end:]
    at = draw.randrange(len(rest) + 1)
    return rest[:at] + content[start:end] + rest[at:]


def _fill(content: bytes, draw: random.Random) -> bytes:
    start, end = _piece(content, draw)
    byte = draw.choice((b"\0", b"\xff", bytes([draw.randrange(256)])))
    return content[:start] + byte * (end - start) + content[end:]


def _number_in_bytes(content: bytes, draw: random.Random) -> bytes:
    """Put an odd number of 2, 4 or 8 bytes somewhere: sizes, counts, offsets."""
    form = draw.choice((">H", "<H", ">I", "<I", ">Q", "<Q"))
    most = 256 ** struct.calcsize(form) - 1
    packed = struct.pack(form, draw.choice((0, 1, most, most // 2, most // 2 + 1, most - 7)))
    at = draw.randrange(len(content))
    return (content[:at] + packed + content[at + len(packed) :])[: len(content)]


def _recode(content: bytes, draw: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    text = draw.choice((text, text.replace("a", "é"), text.replace(" ", "\u2003")))
    return text.encode(draw.choice(ENCODINGS), "replace")


def _number_in_text(content: bytes, draw: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    places = list(re.finditer(r"-?\d+(\.\d+)?|\w+", text))
    if not places:
        return content
    for place in sorted(draw.sample(places, min(len(places), draw.choice((1, 1, 3)))), key=_start):
        text = text[: place.start()] + draw.choice(ODD_TEXT) + text[place.end() :]
    return text.encode("utf-8", "surrogatepass")


def _start(place: re.Match[str]) -> int:
    return -place.start()


def _insert_text(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice(ODD_TEXT).encode("utf-8", "replace") + content[at:]


def _lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    at = draw.randrange(len(lines))
    lines[at : at + 1] = [lines[at]] * draw.choice((0, 0, 2, 1000))
    if draw.random() < 0.3:
        draw.shuffle(lines)
    return b"".join(lines)


def _nested(content: bytes, draw: random.Random) -> bytes:
    """Nest a piece, or put something nested in its place, as deep as no parser goes."""
    depth = draw.choice((50, 2000, 100_000))
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>")))
    at, end = _piece(content, draw)
    closings = closing * draw.choice((0, depth))
    return content[:at] + opening * depth + content[at:end] + closings + content[end:]


def _nodes(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield each place in a tree: what holds it, and its key there."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inside in list(items):
        yield value, key
        yield from _nodes(inside)


def _change_tree(tree: Any, draw: random.Random) -> object:  # noqa: ANN401  (whatever JSON holds)
    """Change some places of a tree: another value, none, twice, under another key."""
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        places = list(_nodes(tree))
        if not places:
            return copy.deepcopy(draw.choice(ODD_VALUES))
        # Long lists of numbers would take nearly all draws: the holders are drawn first.
        holder = draw.choice(list({id(one): one for one, _ in places}.values()))
        key = draw.choice([key for one, key in places if one is holder])
        how = draw.choice(("value", "value", "value", "none", "twice", "number", "away"))
        if how == "value" or (how == "number" and not isinstance(holder[key], int | float)):
            holder[key] = copy.deepcopy(draw.choice(ODD_VALUES))
        elif how == "number":
            holder[key] = holder[key] * draw.choice((-1, 0, 2, 10, 10**6))
        elif how == "none":
            del holder[key]
        elif how == "twice" and isinstance(holder, list):
            again = range(draw.choice((1, 1, 100)))
            holder[key:key] = [copy.deepcopy(holder[key]) for _ in again]
        elif isinstance(holder, dict):
            holder[draw.choice(("x", "", "9", "é"))] = holder.pop(key)
        else:
            return draw.choice((holder, [tree], {"x": tree}))
    return tree


def _tree_of_json(content: bytes, draw: random.Random) -> bytes:
    return json.dumps(_change_tree(json.loads(content), draw)).encode()


def _tree_of_yaml(content: bytes, draw: random.Random) -> bytes:
    changed = _change_tree(yaml.safe_load(content), draw)
    return json.dumps(changed).encode()  # which is YAML too, but for lone surrogates


def _yaml_words(content: bytes, draw: random.Random) -> bytes:
    text = content.decode()
    places = list(re.finditer(r"(?<=: ).+|\w+(?=:)", text))
    place = draw.choice(places)
    return (text[: place.start()] + draw.choice(YAML_ODD) + text[place.end() :]).encode()


def _yaml_bomb(content: bytes, draw: random.Random) -> bytes:
    """Let each of some lists hold the one before nine times."""
    names = [f"l{index}" for index in range(draw.choice((3, 9, 30)))]
    lines = [f"{names[0]}: &{names[0]} [x]"]
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    bomb = "\n".join(lines) + "\n"
    value = re.sub(rb"(?<=: )\S+", b"*" + names[-1].encode(), content, count=draw.choice((0, 1, 2)))
    return bomb.encode() + draw.choice((content, value))


def _png_chunk(content: bytes, draw: random.Random) -> bytes:
    """Damage what a chunk holds and make its checksum right again; or leave one out, or twice."""
    chunks, at = [], PNG_HEAD
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    index = draw.randrange(len(chunks))
    kind, inside = chunks[index]
    how = draw.choice(("inside", "inside", "inside", "away", "twice", "packed"))
    if how == "packed" and kind == b"IDAT":
        raw = zlib.decompress(inside)
        inside = zlib.compress(draw.choice((_bits, _cut_end, _double))(raw, draw))
    elif inside:
        inside = draw.choice((_bits, _number_in_bytes, _cut_end, _double))(inside, draw)
    chunks[index : index + 1] = {"away": [], "twice": [(kind, inside)] * 2}.get(
        how, [(kind, inside)]
    )
    packed = [
        struct.pack(">I", len(one)) + name + one + struct.pack(">I", zlib.crc32(name + one))
        for name, one in chunks
    ]
    return content[:PNG_HEAD] + b"".join(packed)


_BYTES = (_bits, _bits, _cut_end, _cut_out, _double, _move, _fill, _number_in_bytes)
_TEXT = (*_BYTES, *(2 * (_number_in_text, _lines, _insert_text)), _recode, _nested)
_TREE = (_tree_of_json,) * 14
MUTATIONS: dict[str, Sequence[Callable[[bytes, random.Random], bytes]]] = {
    "bytes": _BYTES,
    "text": _TEXT,
    "json": (*_TEXT, *_TREE),
    "yaml": (*_TEXT, *((_tree_of_yaml,) * 8), *((_yaml_words,) * 4), _yaml_bomb),
    "png": (*_BYTES, *((_png_chunk,) * 12)),
}
