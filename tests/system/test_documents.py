"""JSON and YAML: what is read, and one line for whatever cannot be."""

import time
from pathlib import Path
from typing import Any

import pytest

from fcp.errors import FcpError
from fcp.system.documents import load_json, load_yaml, read_json


def test_overrides_reach_nested_and_new_settings(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("head:\n  tokens: 50\nimage_size: 512\n")
    overrides = ("head.tokens=10", "backbone.name=vgg16_bn", "head.features=F", "image_size=64")
    assert load_yaml(recipe, overrides) == {
        "head": {"tokens": 10, "features": "F"},
        "backbone": {"name": "vgg16_bn"},
        "image_size": 64,
    }
    assert load_yaml(recipe) == {"head": {"tokens": 50}, "image_size": 512}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2E+3", -2000.0),
        ("5e-1", 0.5),
        ("1.5e-4", 1.5e-4),
        ("3", 3),
        ("null", None),
        ("true", True),
        ("{stem: 7x7}", {"stem": "7x7"}),
        ("[1, 2]", [1, 2]),
        ("a=b", "a=b"),
        ("", None),
        ("1e", "1e"),
    ],
)
def test_override_is_read_as_yaml(tmp_path: Path, text: str, value: object) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{}")
    read = load_yaml(recipe, (f"x={text}",))["x"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.tokens", "'head.tokens': expected key=value"),
        ("=3", "'=3': expected key=value"),
        ("image_size.width=3", "'image_size.width=3': 'image_size' is a single value"),
        ("head=[1", r"'head=\[1': not valid YAML"),
    ],
)
def test_bad_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("image_size: 512")
    with pytest.raises(FcpError, match=f"^{message}"):
        load_yaml(recipe, (override,))


@pytest.mark.parametrize("load", [load_yaml, load_json])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "expected a|not valid JSON"),
        (b"[1, 2]", "expected a"),
        (b"{", "not valid"),
        (b"\xff\xd8\xff\xe0", "not UTF-8 text; save it as UTF-8$"),
        ('{"ä": 1}'.encode("latin-1"), "not UTF-8 text; save it as UTF-8$"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 text; save it as UTF-8$"),
    ],
)
def test_unusable_file_is_named(tmp_path: Path, load: Any, content: bytes, message: str) -> None:
    path = tmp_path / "settings"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FcpError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("head: !!python/object/apply:os.getcwd []")
    with pytest.raises(FcpError, match="not valid YAML"):
        load_yaml(recipe)


def test_json_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"image_size": 320}')
    assert load_json(path) == {"image_size": 320}
    path.write_text('{"image_size": 320}', encoding="utf-8-sig")  # as Windows editors save it
    assert load_json(path) == {"image_size": 320}


@pytest.mark.parametrize(
    "value",
    ["2001-99-99", "!!int x", "!!float x", "!!timestamp x", "!!bool x", "0x_", "9" * 5000],
)
def test_yaml_values_that_are_none_of_their_kind(tmp_path: Path, value: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"seed: {value}\n")
    with pytest.raises(FcpError, match=r"recipe\.yaml: not valid YAML"):
        load_yaml(recipe)


@pytest.mark.parametrize("text", ["[" * 100_000, "x: " * 5000, "{a: " * 100_000, "- " * 100_000])
def test_yaml_nested_too_deep_is_refused_at_once(tmp_path: Path, text: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    began = time.process_time()  # which others on the machine do not add to
    with pytest.raises(FcpError, match=r"recipe\.yaml: not valid YAML"):
        load_yaml(recipe)
    assert time.process_time() - began < 5


def test_yaml_that_is_too_long(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 1\n" * 200_000)
    with pytest.raises(FcpError, match=r"recipe\.yaml: over 1,000,000 characters"):
        load_yaml(recipe)


def test_yaml_that_stands_for_more_than_it_holds(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    lines = ["l0: &l0 [x]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30)]
    recipe.write_text("\n".join(lines))
    with pytest.raises(FcpError, match="aliases stand for over 1,000,000 values"):
        load_yaml(recipe)
    recipe.write_text("a: &a [*a]")
    with pytest.raises(FcpError, match="aliases stand for over"):
        load_yaml(recipe)
    recipe.write_text("a: &a {size: 3}\nb: *a\nc: {<<: *a, width: 2}")
    assert load_yaml(recipe)["c"] == {"size": 3, "width": 2}


def test_json_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for text, message in (("[" * 100_000, "nested too deep"), ("[NaN]", "NaN is no number")):
        file.write_text(text)
        with pytest.raises(FcpError, match=rf"a\.json: not valid JSON \({message}"):
            read_json(file)
    assert len(read_json(file, finite=False)) == 1
