"""A support as a value: used without ``fit``, written, read, and refused by other models."""

import hashlib
import importlib
import json
import os
import shutil
from dataclasses import dataclass, is_dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from noise import mask, photo
from safetensors import safe_open
from safetensors.torch import save_file

from fcp.errors import FcpError
from fcp.inference.packing import TYPES, pack, tensors_of
from fcp.inference.segmenter import FewShotSegmenter
from fcp.inference.support import Support

OFF = {"appearance": "off"}
TASKS = {
    "one class, appearance": {"examples": [(photo(0), mask())]},
    "classes, negatives": {
        "examples": {
            "cat": [(photo(0), mask()), (photo(1), mask())],
            "dog": [(photo(2), mask(40))],
        },
        "negatives": [(photo(3), mask())],
        **OFF,
    },
    "tiles": {"examples": [(photo(0), mask())], "tile": 40, **OFF},
}


@pytest.fixture(scope="module")
def segmenter(model_folder):
    return FewShotSegmenter.from_pretrained(model_folder, device="cpu")


@pytest.fixture(scope="module")
def small():
    """Its head compares cells of all levels, which a file must hold too."""
    return FewShotSegmenter.from_pretrained("small", device="cpu")


def same(first, second):
    return np.array_equal(first.labels, second.labels) and all(
        (one.score, one.presence) == (other.score, other.presence)
        and torch.equal(one.maps.logits, other.maps.logits)
        for one, other in zip(first.classes.values(), second.classes.values(), strict=True)
    )


def test_a_support_answers_without_being_kept(segmenter):
    other = segmenter.fit([(photo(5), mask(30))]).support
    task = TASKS["classes, negatives"]
    support = segmenter.encode(**task)
    found = segmenter.predict(photo(9), support=support)
    assert segmenter.support is other
    assert same(found, segmenter.fit(**task).predict(photo(9)))


@pytest.mark.parametrize("task", TASKS)
def test_a_support_read_from_its_file_answers_the_same(segmenter, tmp_path, task):
    check_file(segmenter, tmp_path, TASKS[task])


def test_correlation_and_contrast_are_kept_too(small, tmp_path):
    support = check_file(small, tmp_path, TASKS["classes, negatives"])
    assert all(one.correlation is not None for one in support.entrants)
    assert support.classes["cat"].contrast_mask is not None  # of two examples
    assert support.classes["dog"].contrast_mask is None


def check_file(segmenter, tmp_path, task):
    support = segmenter.encode(**task)
    support.save(tmp_path / "it.safetensors")
    again = Support.load(tmp_path / "it.safetensors")
    assert again.decisions == support.decisions
    assert list(again.classes) == list(support.classes)
    expected = segmenter.predict(photo(9), support=support, threshold=0)
    assert same(segmenter.predict(photo(9), support=again, threshold=0), expected)
    return again


def test_fields_that_an_older_file_lacks_take_their_defaults(segmenter, tmp_path):
    support = segmenter.encode([(photo(0), mask())], appearance="off")
    support.save(tmp_path / "new.safetensors")
    record, tensors = header_of(tmp_path / "new.safetensors")
    for entrant in record["entrants"]:
        del entrant["fields"]["contrast_mask"]
    write(tmp_path / "old.safetensors", record, tensors)
    again = Support.load(tmp_path / "old.safetensors")
    assert again.classes["thing"].contrast_mask is None
    assert same(
        segmenter.predict(photo(9), support=again), segmenter.predict(photo(9), support=support)
    )


def test_a_support_of_another_model_is_refused(segmenter, model_folder):
    support = segmenter.encode([(photo(0), mask())], appearance="off")
    tiny = FewShotSegmenter.from_pretrained("tiny", device="cpu")
    with pytest.raises(FcpError, match="another model has encoded these examples"):
        tiny.predict(photo(9), support=support)
    with torch.no_grad():
        tiny.model.head.support.tokens.add_(1)
    trained = FewShotSegmenter(tiny.model, device="cpu")
    assert trained.fingerprint != FewShotSegmenter.from_pretrained("tiny").fingerprint


@pytest.fixture(scope="module")
def file(model_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("support") / "it.safetensors"
    FewShotSegmenter.from_pretrained(model_folder).encode([(photo(0), mask())]).save(path)
    return path


def test_what_is_no_support_is_named(file, tmp_path):
    with pytest.raises(FcpError, match=r"none\.safetensors: no such file"):
        Support.load(tmp_path / "none.safetensors")
    with pytest.raises(FcpError, match=r"cannot be read \((?!None)"):
        Support.load(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FcpError, match=r"other\.safetensors: damaged, or no support .* encode"):
        Support.load(tmp_path / "other.safetensors")


def test_a_file_that_is_replaced_does_not_change_what_was_loaded(segmenter, file, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.safetensors")  # a name that is not UTF-8
    shutil.copyfile(file, path)
    support = Support.load(path)
    before = segmenter.predict(photo(9), support=support)
    with path.open("r+b") as written:
        written.truncate(100)
    assert same(segmenter.predict(photo(9), support=support), before)


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 0.999), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_file_is_refused(file, place, bit, cut):
    content = bytearray(file.read_bytes())
    at = int(place * len(content))
    content[at] ^= 1 << bit
    bad = file.with_name("bad.safetensors")
    bad.write_bytes(content[:at] if cut else content)
    with pytest.raises(FcpError, match=r"bad\.safetensors: damaged, or no support"):
        Support.load(bad)


def test_values_that_are_not_finite_are_refused(segmenter, tmp_path):
    support = segmenter.encode([(photo(0), mask())], appearance="off")
    broken = replace(support.classes["thing"], high=support.classes["thing"].high * torch.nan)
    replace(support, classes={"thing": broken}).save(tmp_path / "nan.safetensors")
    with pytest.raises(FcpError, match=r"0\.high holds values that are not finite"):
        Support.load(tmp_path / "nan.safetensors")


def test_tensors_go_to_a_device_and_back(segmenter):
    support = segmenter.encode([(photo(0), mask())], appearance="off")
    meta = support.to(torch.device("meta"))
    assert meta.classes["thing"].prototypes[0].device.type == "meta"
    assert support.to(torch.device("cpu")) is support
    assert replace(support, model="x").to(torch.device("cpu")).model == "x"


def header_of(path):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return json.loads(file.metadata()["support"]), tensors


def write(path, record, tensors):
    """Write a file by hand, with its checksum."""
    text = json.dumps(record)
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    save_file(tensors, path, {"support": text, "sha256": digest.hexdigest()})


@pytest.mark.parametrize("task", TASKS)
def test_files_of_the_first_format_are_still_read(segmenter, tmp_path, task):
    support = segmenter.encode(**TASKS[task])
    support.save(tmp_path / "new.safetensors")
    record, tensors = header_of(tmp_path / "new.safetensors")
    del record["entrants"]
    older = record | {"format": "fcp-support-1", "fusion": "pooled"}
    write(tmp_path / "old.safetensors", older, tensors)
    again = Support.load(tmp_path / "old.safetensors")
    for one, other in zip(again.entrants, support.entrants, strict=True):
        read, kept = dict(tensors_of(one)), dict(tensors_of(other))
        assert read.keys() == kept.keys()
        assert all(torch.equal(read[name], kept[name]) for name in kept)
    assert again.decisions == support.decisions


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "os.system"}, "holds a part of an unknown kind"),
        ({"type": "fcp.correlation"}, "fcp.correlation.levels is missing"),
        ({"fields": {"fusion": "best"}}, "fcp.fusion is of a wrong kind"),
        ({"fields": {"high": 3}}, "fcp.high is of a wrong kind"),
        ({"fields": {"prototypes": {"tensor": "0.high"}}}, "fcp.prototypes is of a wrong kind"),
        ({"fields": {"more": 3}}, "fcp.more is of a wrong kind"),
        ({"fields": {"high": {"tensor": "0.none"}}}, "'0.none' is missing"),
    ],
)
def test_a_file_can_make_no_other_object(file, tmp_path, change, reason):
    record, tensors = header_of(file)
    (entrant,) = record["entrants"]
    entrant["fields"] |= change.pop("fields", {})
    write(tmp_path / "bad.safetensors", record | {"entrants": [entrant | change]}, tensors)
    with pytest.raises(FcpError, match=f"damaged, or no support of fcp .*{reason}"):
        Support.load(tmp_path / "bad.safetensors")


@dataclass(frozen=True)
class Stranger:
    """A dataclass that is no part of a support."""

    value: int = 1


def test_strangers_are_not_packed():
    with pytest.raises(TypeError, match=r"0\.1: Stranger is no part of a support"):
        pack((torch.zeros(1), Stranger()), "0")


@pytest.mark.parametrize("key", TYPES)
def test_every_type_of_the_table_is_a_dataclass(key):
    module, name = TYPES[key].split(":")
    assert is_dataclass(getattr(importlib.import_module(module), name))


def test_a_numpy_side_of_tiles_is_kept_like_any(segmenter, tmp_path):
    support = segmenter.encode([(photo(0), mask())], tile=np.int64(40), appearance="off")
    support.save(tmp_path / "s.safetensors")
    assert Support.load(tmp_path / "s.safetensors").tile == 40


def test_supports_and_predictions_are_keys_and_differ(segmenter):
    one, other = (segmenter.encode([(photo(0), mask())], **OFF) for _ in range(2))
    assert {one: 1, other: 2}[one] == 1
    assert one != other
    found = [segmenter.predict(photo(n), support=one) for n in range(2)]
    assert found.index(found[1]) == 1
    assert len({*found, *(own for each in found for own in each.classes.values())}) == 4


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_another_default_type_of_torch_changes_nothing(model_folder, segmenter, kind):
    """It is one for the whole process, whose other models may want it."""
    support = segmenter.encode([(photo(0), mask())], **OFF)
    expected = segmenter.predict(photo(1), support=support)
    try:
        torch.set_default_dtype(kind)
        loaded = FewShotSegmenter.from_pretrained(model_folder, device="cpu")
        found = loaded.predict(photo(1), support=support)
    finally:
        torch.set_default_dtype(torch.float32)
    assert loaded.fingerprint == segmenter.fingerprint
    torch.testing.assert_close(
        found.classes["thing"].maps.logits, expected.classes["thing"].maps.logits, atol=1e-3, rtol=0
    )


def test_autocast_around_it_changes_nothing(segmenter):
    with torch.autocast("cpu"):
        support = segmenter.encode([(photo(0), mask())])
        found = segmenter.predict(photo(1), support=support)
    support = segmenter.encode([(photo(0), mask())])
    assert same(found, segmenter.predict(photo(1), support=support))
