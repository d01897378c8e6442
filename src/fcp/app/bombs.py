"""Zip archives that are made to unpack to more than they should: told before anything is read."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path

from fcp.errors import FcpError

MOST_MEMBERS = 100_000  # of an archive, whatever they are
MOST_DIRECTORY = 32 << 20  # bytes of the list of members, which is read as a whole
MOST_RATIO = 200  # bytes from one; drawings of few colours in the loosest formats come near it
SMALL = 8 << 20  # bytes of a member that may be packed tighter than that
_LOCAL_HEADER = 30  # bytes at least, before a member's own
_SIZE_OF_DIRECTORY = 5  # place in the record at the archive's end


def check_zip(archive: Path, room: int) -> None:
    """Refuse an archive by its list of members.

    Args:
        archive: that ``zipfile.is_zipfile`` takes for one.
        room: bytes that all its members may have together, pictures or not.

    Raises:
        FcpError: too many members or too much in them, members that share bytes of the archive,
            or one that is packed tighter than pictures are; or a broken list.
    """
    try:
        with archive.open("rb") as file:
            # The public way reads the whole list into memory before it tells how long it is.
            end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end is None or end[_SIZE_OF_DIRECTORY] > MOST_DIRECTORY:
            raise FcpError(f"{archive}: more than {MOST_MEMBERS:,} files in it")
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FcpError(f"{archive}: no whole zip archive ({error}); make it again") from error
    if len(members) > MOST_MEMBERS:
        raise FcpError(f"{archive}: more than {MOST_MEMBERS:,} files in it")
    total = sum(member.file_size for member in members)
    if total > room:
        left = max(0, room) / 1e6
        raise FcpError(
            f"{archive}: unpacks to {total / 1e6:,.0f} MB, and {left:,.0f} MB are left; bring "
            "fewer or smaller pictures, or start the page with a higher --max-upload-mb"
        )
    _refuse_overlap(archive, members)
    for member in members:
        if member.file_size > max(SMALL, MOST_RATIO * member.compress_size):
            raise FcpError(
                f"{archive}: {member.filename!r} in it unpacks to more than {MOST_RATIO} times its "
                "size; if it is a true picture, bring it by itself"
            )


def _refuse_overlap(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raise where two members lie on the same bytes, which then count twice when unpacked."""
    for member, following in pairwise(sorted(members, key=lambda one: one.header_offset)):
        if member.header_offset + _LOCAL_HEADER + member.compress_size > following.header_offset:
            raise FcpError(f"{archive}: files in it overlap; no program writes that, make it again")
