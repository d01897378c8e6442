"""A bounded store of encoder outputs on disk: 16-bit, memory-mapped, for any number of processes.

One safetensors file an entry, named by its key, which is a hash of all that the entry depends on.
Files are written beside their place and renamed, so that a reader sees a whole entry or none; each
tensor carries a checksum, and an entry that fails it counts as missing and is made again. Entries
that are large are not stored, so that they do not drive out the small ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fcp.errors import FcpError
from fcp.files import write_atomically

_SUFFIX = ".safetensors"
_FORMAT = "fcp-features-1"
# Bytes of an entry's tensors. On a GPU, to read more costs about what making it does (ResNet's
# stages: 29 MB), and would drive out what is dear to make (SAM's features: 2 MB, SAM 2's: 8 MiB).
_LARGEST = 8 << 20
_AFTER_EVICTION = 0.9  # of the capacity, so that not every entry written causes an eviction


class FeatureCache:
    """Named tensors by key; the least recently used entries go when the store grows too large.

    Entries of other models do no harm: their keys are others. Several processes may read, write
    and evict in one folder at a time; each counts what it writes and looks at the folder again
    before it evicts, so the store may for a while exceed its capacity by what the others wrote.

    Args:
        folder: Of the entries; made if missing.
        capacity: Bytes that the entries may take.

    Raises:
        FcpError: the folder cannot be made, or the capacity is not positive.
    """

    def __init__(self, folder: Path, capacity: int) -> None:
        if capacity <= 0:
            raise FcpError(f"feature cache: expected room for more than {capacity} bytes")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FcpError(f"{folder}: cannot be made ({error.strerror})") from error
        self.folder, self.capacity = folder, capacity
        self._held = sum(size for _, size, _ in self._entries())

    def find(self, key: str, names: Iterable[str] | None = None) -> dict[str, Tensor] | None:
        """Return an entry's tensors (or those of these names), or None if there is no whole one.

        The tensors may lie in the file itself (memory-mapped): do not write to them.
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
        with suppress(OSError):  # evicted by another process in this moment
            os.utime(path)
        return tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Store an entry as ``to_half`` leaves it, and return it as it will be found.

        One of more than 8 MiB is returned in the same form, and not stored.

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
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)
        self._held += len(content)
        return halved

    def _evict(self, room: float) -> None:
        """Drop the entries that were not used for longest until the rest fits into the room."""
        entries = sorted(self._entries())
        self._held = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if self._held <= room:
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
            self._held -= size

    def _entries(self) -> list[tuple[int, int, Path]]:
        """List time of last use, bytes and file of each entry."""
        found = []
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        # Folders of some thousand files at most, also for all of COCO.
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
        module: An encoder.
        settings: What else its outputs depend on, such as its registry name and options.
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
