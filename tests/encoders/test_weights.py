import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fcp.encoders.weights import load_strictly, read_state_dict
from fcp.errors import FcpError


@pytest.fixture
def layer():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.mark.parametrize("wrapping", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_are_unwrapped(tmp_path, layer, wrapping, prefix, legacy):
    state = {prefix + name: tensor for name, tensor in layer.state_dict().items()}
    content = state if wrapping is None else {wrapping: state, "epoch": 3}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    read = read_state_dict(tmp_path / "a.pth")
    assert read.keys() == layer.state_dict().keys()
    torch.testing.assert_close(read, dict(layer.state_dict()))


def test_safetensors_file(tmp_path, layer):
    save_file(layer.state_dict(), tmp_path / "a.safetensors")
    torch.testing.assert_close(
        read_state_dict(str(tmp_path / "a.safetensors")), dict(layer.state_dict())
    )


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_strangers_pickle_never_runs(tmp_path):
    torch.save({"weight": Trap(tmp_path / "sprung")}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps({"weight": Trap(tmp_path / "sprung")}, 2))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(FcpError, match=name):
            read_state_dict(tmp_path / name)
    with pytest.raises(FcpError, match="never loaded"):
        read_state_dict(tmp_path / "a.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "noise", "missing"])
def test_damaged_files_are_named(tmp_path, layer, suffix, damage):
    path = tmp_path / f"weights{suffix}"
    write = torch.save if suffix == ".pth" else save_file
    write(layer.state_dict(), path)
    whole = path.read_bytes()
    noise = bytes(torch.randint(256, (500,), generator=torch.Generator().manual_seed(0)).tolist())
    content = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "text": b"<html>not found</html>",
        "noise": noise,
    }
    path.unlink() if damage == "missing" else path.write_bytes(content[damage])
    with pytest.raises(FcpError, match="weights") as error:
        read_state_dict(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [torch.ones(3), {}, {"weight": [1, 2]}, {"model": {"a": 1}}])
def test_files_without_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(FcpError, match=r"a\.pth"):
        read_state_dict(tmp_path / "a.pth")


def test_only_batch_norm_counters_may_be_missing(layer):
    state = dict(layer.state_dict())
    del state["1.num_batches_tracked"]
    load_strictly(layer, state, "a.pth")
    for change, complaint in (
        ({"0.weight": None}, "0.weight is missing"),
        ({"2.weight": torch.ones(1)}, "2.weight is unknown"),
        ({"0.bias": torch.ones(5)}, r"0.bias has shape \(5,\) instead of \(4,\)"),
    ):
        changed = {k: v for k, v in {**state, **change}.items() if v is not None}
        with pytest.raises(FcpError, match=f"a.pth: .*{complaint}"):
            load_strictly(layer, changed, "a.pth")


@pytest.mark.parametrize("form", ["archive", "legacy", "pickle 0", "pickle 2", "pickle 5"])
def test_a_file_that_would_run_code_is_called_by_its_name(tmp_path, form):
    class Hostile:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    file = tmp_path / "a.pt"
    if form in ("archive", "legacy"):
        torch.save({"x": Hostile()}, file, _use_new_zipfile_serialization=form == "archive")
    else:
        file.write_bytes(pickle.dumps({"x": Hostile()}, protocol=int(form[-1])))
    with pytest.raises(FcpError, match=r"a\.pt: holds Python objects beside weights"):
        read_state_dict(file)
    assert not (tmp_path / "sprung").exists()
