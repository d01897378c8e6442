"""A bounded store of encoder outputs on disk: 16-bit, memory-mapped, for any number of processes.

Each entry is one safetensors file, named by its key, which is a hash of everything that the entry
depends on. Files are written under a temporary name and renamed, so that a reader sees a complete
entry or none. Each tensor has a checksum, and an entry that fails it counts as missing and is
computed again. Large entries are not stored, so that they do not evict the small ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fcp.errors import FcpError
from fcp.system.files import is_unfinished, make_folder, write_beside

_SUFFIX = ".safetensors"
_FORMAT = "fcp-features-1"
# Bytes of an entry's tensors. On a GPU, reading a larger entry takes about as long as computing it
# (ResNet's stages: 29 MB), and it would evict entries that are expensive to compute (SAM's
# features: 2 MB, SAM 2's: 8 MiB).
_LARGEST = 8 << 20
_LONGEST_WRITE = 3600  # s
_AFTER_EVICTION = 0.9  # of the capacity, so that not every write causes an eviction


class FeatureCache:
    """Named tensors by key; the least recently used entries go when the store grows too large.

    Entries of other models may be in the same folder, since their keys differ. Several processes
    may read, write and evict in one folder at a time; each counts the bytes it writes and lists the
    folder again before it evicts, so the store may temporarily exceed its capacity by the entries
    of other processes.

    Args:
        folder: Folder of the entries; made if missing.
        capacity: Number of bytes that the entries may take.

    Raises:
        FcpError: the folder cannot be made, or the capacity is not positive.
    """

    def __init__(self, folder: Path, capacity: int) -> None:
        if capacity <= 0:
            raise FcpError(f"feature cache: expected room for more than {capacity} bytes")
        make_folder(folder)
        self.folder, self.capacity = folder, capacity
        self._held = sum(size for _, size, _ in self._entries())

    def find(self, key: str, names: Iterable[str] | None = None) -> dict[str, Tensor] | None:
        """Return an entry's tensors (or those of these names); None if it is missing or incomplete.

        The tensors may be memory-mapped from the file: do not write to them.
        """
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                sums = file.metadata() or {}
                wanted = list(file.keys()) if names is None else list(names)
                tensors = {name: file.get_tensor(name) for name in wanted}
        except (OSError, SafetensorError):
            return None
        if any(sums.get(name) != _checksum(tensor) for name, tensor in tensors.items()):
            return None
        with suppress(OSError):  # evicted by another process meanwhile
            os.utime(path)
        return tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Store an entry as ``to_half`` converts it, and return it as ``find`` will.

        An entry of more than 8 MiB is returned in the same form, but not stored.

        Raises:
            FcpError: the disk is full or the folder not writable.
        """
        halved = {name: to_half(tensor) for name, tensor in tensors.items()}
        if sum(tensor.nbytes for tensor in halved.values()) > _LARGEST:
            return halved
        sums = {name: _checksum(tensor) for name, tensor in halved.items()}
        content = save(halved, metadata={"format": _FORMAT, **sums})
        if self._held + len(content) > self.capacity:
            self._evict(self.capacity * _AFTER_EVICTION - len(content))
        path = self._path(key)
        write_beside(path, content)
        self._held += len(content)
        return halved

    def _evict(self, room: float) -> None:
        """Drop the least recently used entries until the rest fits into the room."""
        self._remove_unfinished()
        entries = sorted(self._entries())
        self._held = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if self._held <= room:
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
            self._held -= size

    def _remove_unfinished(self) -> None:
        """Remove what killed processes left half written; who still writes takes less time."""
        long_ago = time.time() - _LONGEST_WRITE
        for path in filter(is_unfinished, self.folder.glob(f"*/.*{_SUFFIX}.*")):
            with suppress(OSError):  # removed by another process meanwhile
                if path.stat().st_mtime < long_ago:
                    path.unlink()

    def _entries(self) -> list[tuple[int, int, Path]]:
        """List time of last use, bytes and file of each entry."""
        found = []
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        # Folders hold a few thousand files at most, also for all of COCO.
        return self.folder / key[:2] / f"{key}{_SUFFIX}"


def to_half(tensor: Tensor) -> Tensor:
    """Copy to the CPU, floats as float16, or as float32 where values are outside its range."""
    copy = tensor.detach().to("cpu").contiguous()
    if not copy.is_floating_point():
        return copy
    half = copy.to(torch.float16)
    return half if bool(half.isfinite().all()) else copy.float()


def fingerprint(module: nn.Module, settings: object) -> str:
    """Return a hash of a module's weights and their names: 64 hexadecimal digits.

    Args:
        module: Encoder to hash.
        settings: Other settings that its outputs depend on, such as its registry name and options.
    """
    digest = hashlib.sha256(json.dumps([_FORMAT, settings], sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor.detach().cpu()))
    return digest.hexdigest()


def _checksum(tensor: Tensor) -> str:
    return f"{zlib.crc32(_bytes(tensor)):08x}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
