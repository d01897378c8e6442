"""Detection of zip bombs, from the list of members alone."""

from __future__ import annotations

import zipfile
from collections.abc import Set
from itertools import pairwise
from pathlib import Path

from fcp.errors import FcpError

MOST_MEMBERS = 100_000  # in an archive, pictures or not
MOST_DIRECTORY = 32 << 20  # bytes of the list of members, which is read into memory
MOST_RATIO = 200  # unpacked ÷ packed size; uncompressed drawings of few colours come near it
SMALL = 8 << 20  # bytes; smaller members may exceed MOST_RATIO
_LOCAL_HEADER = 30  # bytes at least, before the data of a member
_ENCRYPTED = 1  # bit in the flags of a member
_SIZE_OF_DIRECTORY = 5  # index in the record at the archive's end


def check_zip(archive: Path, room: int, known: Set[tuple[str, int]] = frozenset()) -> None:
    """Refuse an archive by its list of members.

    Args:
        archive: File that ``zipfile.is_zipfile`` accepts.
        room: Bytes allowed for all members together, pictures or not.
        known: Name and size of pictures that are there already; each is allowed beside ``room``.

    Raises:
        FcpError: too many members, a password, too many bytes, members that share bytes of the
            archive, a compression ratio that pictures do not have, or a damaged list.
    """
    try:
        with archive.open("rb") as file:
            # The public API reads the whole list into memory before it reports its length.
            end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end is None or end[_SIZE_OF_DIRECTORY] > MOST_DIRECTORY:
            raise FcpError(f"{archive}: contains more than {MOST_MEMBERS:,} files")
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        message = f"{archive}: not a complete zip archive ({error}); create it again"
        raise FcpError(message) from error
    if len(members) > MOST_MEMBERS:
        raise FcpError(f"{archive}: contains more than {MOST_MEMBERS:,} files")
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise FcpError(f"{archive}: needs a password; unpack it and upload the pictures")
    total = sum(member.file_size for member in members)
    total -= sum(size for _, size in known & {(one.filename, one.file_size) for one in members})
    if total > room:
        left = max(0, room) / 1e6
        raise FcpError(
            f"{archive}: unpacks to {total / 1e6:,.0f} MB, and {left:,.0f} MB are left; upload "
            "fewer or smaller pictures, or start the page with a higher --max-upload-mb"
        )
    _refuse_overlap(archive, members)
    for member in members:
        if member.file_size > max(SMALL, MOST_RATIO * member.compress_size):
            raise FcpError(
                f"{archive}: {member.filename!r} in it unpacks to more than {MOST_RATIO} times its "
                "size; if it is a real picture, upload it without the archive"
            )


def _refuse_overlap(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share bytes of the archive, which would be unpacked twice."""
    for member, following in pairwise(sorted(members, key=lambda one: one.header_offset)):
        if member.header_offset + _LOCAL_HEADER + member.compress_size > following.header_offset:
            raise FcpError(f"{archive}: files in it overlap; create the archive again")
