"""How much a visitor of the page may bring, and the count of what has come."""

from __future__ import annotations

from dataclasses import dataclass

from fcp.errors import FcpError


@dataclass(frozen=True)
class Limits:
    """What is refused before it is decoded.

    Attributes:
        total_bytes: of all that one visitor uploads, unpacked.
        pictures: of one visitor.
        side: px of a picture's longer side.
        pixels: of a picture; a decoded one takes three bytes for each.
        sessions: visitors at a time.
    """

    total_bytes: int = 2000 * 10**6
    pictures: int = 10_000
    side: int = 20_000
    pixels: int = 100_000_000
    sessions: int = 50


class Budget:
    """Counts what one visitor has brought, so that no way in goes round the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.used = 0
        self.pictures = 0

    def spend(self, name: str, size: int) -> None:
        """Count a picture of ``size`` bytes, before it is unpacked or kept.

        Raises:
            FcpError: it would be too much; nothing is counted then.
        """
        most = self.limits
        if self.used + size > most.total_bytes:
            raise FcpError(
                f"{name}: more than {most.total_bytes / 1e6:,.0f} MB in all, unpacked; bring fewer "
                "or smaller pictures, or start the page with a higher --max-upload-mb"
            )
        if self.pictures >= most.pictures:
            raise FcpError(f"{name}: more than {most.pictures:,} pictures; bring them in parts")
        self.used += size
        self.pictures += 1

    def give_back(self, size: int) -> None:
        """Uncount a picture that was not kept."""
        self.used -= size
        self.pictures -= 1

    def check_size(self, name: str, size: tuple[int, int]) -> None:
        """Refuse a picture of (H, W) px that would take too much memory.

        Raises:
            FcpError: it is too large.
        """
        height, width = size
        if max(size) > self.limits.side:
            message = f"the longer side is limited to {self.limits.side:,} px"
        elif height * width > self.limits.pixels:
            message = f"a picture is limited to {self.limits.pixels / 1e6:,.0f} million pixels"
        else:
            return
        raise FcpError(f"{name}: is {width:,}×{height:,} px; {message}, make it smaller")
