"""Limits on the uploads of a visitor, and the count of what was uploaded."""

from __future__ import annotations

from dataclasses import dataclass

from fcp.errors import FcpError


@dataclass(frozen=True)
class Limits:
    """Limits that are checked before a picture is decoded.

    Attributes:
        total_bytes: Total bytes that one visitor uploads, unpacked.
        pictures: Number of pictures of one visitor.
        side: Longer side of a picture in px.
        pixels: Number of pixels of a picture; each takes three bytes when decoded.
        sessions: Number of visitors at a time.
    """

    total_bytes: int = 2000 * 10**6
    pictures: int = 10_000
    side: int = 20_000
    pixels: int = 100_000_000
    sessions: int = 50


class Budget:
    """Count of one visitor's uploads; every kind of upload is charged to it.

    Args:
        limits: Limits on the uploads of the visitor.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.used = 0
        self.pictures = 0

    def spend(self, name: str, size: int) -> None:
        """Count a picture of ``size`` bytes, before it is unpacked or kept.

        Raises:
            FcpError: the picture would exceed a limit; it is not counted then.
        """
        most = self.limits
        if self.used + size > most.total_bytes:
            raise FcpError(
                f"{name}: more than {most.total_bytes / 1e6:,.0f} MB in all, unpacked; upload "
                "fewer or smaller pictures, or start the page with a higher --max-upload-mb"
            )
        if self.pictures >= most.pictures:
            raise FcpError(f"{name}: more than {most.pictures:,} pictures; run them in parts")
        self.used += size
        self.pictures += 1

    def give_back(self, size: int) -> None:
        """Take a removed picture of ``size`` bytes off the count."""
        self.used -= size
        self.pictures -= 1

    def check_size(self, name: str, size: tuple[int, int]) -> None:
        """Refuse a picture of (H, W) px that would take too much memory.

        Raises:
            FcpError: the picture is too large.
        """
        height, width = size
        if max(size) > self.limits.side:
            message = f"the longer side is limited to {self.limits.side:,} px"
        elif height * width > self.limits.pixels:
            message = f"a picture is limited to {self.limits.pixels / 1e6:,.0f} million pixels"
        else:
            return
        raise FcpError(f"{name}: is {width:,}×{height:,} px; {message}, make it smaller")
