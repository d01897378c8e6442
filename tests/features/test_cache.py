"""The store of features: what comes back, what it forgets, what damage does to it."""

import errno
import os
from multiprocessing import get_context

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fcp.errors import FcpError
from fcp.features.cache import FeatureCache, fingerprint, to_half

KEYS = [f"{n:02x}" * 32 for n in range(8)]
MAP = {"mid": torch.linspace(-3, 3, 600).view(6, 10, 10), "ids": torch.arange(5)}


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features", 1 << 20)


def files(cache):
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


def test_what_is_put_is_found_as_16_bit(cache):
    given_back = cache.put(KEYS[0], MAP)
    found = FeatureCache(cache.folder, 1 << 20).find(KEYS[0])
    for tensors in (given_back, found, load_file(files(cache)[0])):
        assert torch.equal(tensors["mid"], MAP["mid"].half())
        assert torch.equal(tensors["ids"], MAP["ids"])
    assert set(cache.find(KEYS[0], ("mid",))) == {"mid"}
    assert cache.find(KEYS[1]) is None


@pytest.mark.parametrize("value", [7e4, float("inf"), float("nan")])
def test_values_beyond_16_bit_stay_as_they_are(cache, value):
    large = torch.tensor([1.0, value])
    cache.put(KEYS[0], {"mid": large})
    torch.testing.assert_close(cache.find(KEYS[0])["mid"], large, equal_nan=True)
    assert to_half(torch.tensor([1.0, 2.0])).dtype == torch.float16


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_entry_counts_as_missing_and_can_be_made_again(cache, damage):
    cache.put(KEYS[0], MAP)
    file = files(cache)[0]
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(
        {"flip": content, "cut": content[:-7], "empty": b"", "text": b"no tensors"}[damage]
    )
    assert cache.find(KEYS[0], ("mid",) if damage == "flip" else None) is None
    cache.put(KEYS[0], MAP)
    assert torch.equal(cache.find(KEYS[0])["mid"], MAP["mid"].half())


def test_the_least_recently_used_go_first_and_the_capacity_holds(tmp_path):
    one = {"mid": torch.zeros(1000)}
    cache = FeatureCache(tmp_path, 7000)  # three entries of about 2,200 bytes
    for age, key in enumerate(KEYS[:3]):
        cache.put(key, one)
        os.utime(files(cache)[-1], ns=(age, age))
    assert cache.find(KEYS[0]) is not None  # used again: the second is the oldest now
    for key in KEYS[3:]:
        cache.put(key, one)
        assert sum(file.stat().st_size for file in files(cache)) <= 7000
        assert cache.find(key) is not None
        if key == KEYS[3]:
            assert cache.find(KEYS[1]) is None
            assert cache.find(KEYS[0]) is not None


def test_what_is_large_is_not_stored_and_drives_nothing_out(tmp_path):
    cache = FeatureCache(tmp_path, 10 << 20)
    finer = {"image": torch.zeros(1 << 20), "finer": torch.zeros(3, 1 << 20)}  # SAM 2's 8 MiB
    cache.put(KEYS[0], finer)
    stages = {**finer, "high": torch.ones(1)}
    given_back = cache.put(KEYS[1], stages)
    assert {name: t.dtype for name, t in given_back.items()} == dict.fromkeys(stages, torch.half)
    assert cache.find(KEYS[1]) is None
    assert set(cache.find(KEYS[0])) == set(finer)


def test_an_older_store_counts_against_the_capacity(tmp_path):
    for key in KEYS[:3]:
        FeatureCache(tmp_path, 1 << 20).put(key, {"mid": torch.zeros(1000)})
    small = FeatureCache(tmp_path, 5000)
    small.put(KEYS[3], {"mid": torch.zeros(1000)})
    assert sum(file.stat().st_size for file in files(small)) <= 5000


def test_what_killed_writers_left_goes_with_the_oldest_entries(tmp_path):
    cache = FeatureCache(tmp_path, 3000)  # one entry of about 2,200 bytes
    cache.put(KEYS[0], {"mid": torch.zeros(1000)})
    folder = files(cache)[0].parent
    names = (".k.safetensors.abcd1234", ".k.safetensors.wxyz5678", ".k.safetensors.txt")
    left, written, other = (folder / name for name in names)
    for path in (left, written, other):
        path.write_bytes(b"half")
    for path in (left, other):
        os.utime(path, (0, 0))
    cache.put(KEYS[1], {"mid": torch.zeros(1000)})
    assert {path for path in files(cache) if path.parent == folder} == {written, other}


def use(folder):
    """Read and write entries of a store that cannot hold them all."""
    cache = FeatureCache(folder, 60_000)
    for n in range(60):
        key = f"{n % 20:02x}" * 32
        found = cache.find(key) or cache.put(key, {"x": torch.full((1000,), float(n % 20))})
        assert (found["x"] == n % 20).all()


def test_several_processes_share_a_folder(tmp_path):
    # Forked, as a loader's processes are: an import of torch for each takes seconds.
    running = [get_context("fork").Process(target=use, args=(tmp_path,)) for _ in range(3)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0, 0, 0]
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left
    assert all(name.endswith(".safetensors") for name in left)


def test_a_full_disk_is_told_and_leaves_nothing(cache, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(FcpError, match="No space left"):
        cache.put(KEYS[0], MAP)
    monkeypatch.undo()
    assert files(cache) == []
    assert cache.find(KEYS[0]) is None


def test_a_store_that_became_read_only_is_named(cache, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(FcpError, match=r"features.*: cannot be made \(Permission denied\)"):
        cache.put(KEYS[0], MAP)


def test_a_store_needs_room_and_a_folder(tmp_path):
    with pytest.raises(FcpError, match="expected room"):
        FeatureCache(tmp_path, 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(FcpError, match="cannot be made"):
        FeatureCache(tmp_path / "file", 1)


def test_a_fingerprint_tells_weights_names_and_settings_apart():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    first = fingerprint(module, ["a", {}])
    assert first == fingerprint(module, ["a", {}])
    assert first != fingerprint(module, ["b", {}])
    assert first != fingerprint(nn.ModuleDict({"x": module}), ["a", {}])
    with torch.no_grad():
        module[1].running_mean[2] += 1e-6  # a buffer counts too
    assert first != fingerprint(module, ["a", {}])
