"""A spool gives back what it got, leaves nothing, and names the file that it is for."""

import io

import pytest

from fcp.errors import FcpError
from fcp.report.spool import Spool


def test_everything_comes_back_and_nothing_is_left(tmp_path):
    out = io.BytesIO()
    with Spool(tmp_path / "r.html") as spool:
        for part in (b"a", b"", b"b" * 100_000):
            spool.write(part)
        spool.copy_to(out)
    assert out.getvalue() == b"a" + b"b" * 100_000
    assert not list(tmp_path.iterdir())


class FullDisk(io.BytesIO):
    """Fails at each write and again when closed, as a buffered file on a full disk does."""

    def write(self, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: FullDisk())
    with pytest.raises(FcpError, match=r"r\.html: cannot be written \(No space left on device\)"):
        with Spool(tmp_path / "r.html") as spool:
            spool.write(b"a")
