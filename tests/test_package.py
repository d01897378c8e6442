"""What stands beside the code agrees with it: versions, pins and declared dependencies."""

from __future__ import annotations

import ast
import re
import runpy
import sys
import tomllib
import zlib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from fcp.cli.train import find_recipe
from fcp.data.images import read_size
from fcp.encoders import BACKBONES, SEGMENTERS
from fcp.engine.recipe import load_recipe

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
README = (ROOT / "README.md").read_text("utf-8")


def requirements() -> list[Requirement]:
    """Return all that pyproject.toml asks for, extras included."""
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    return [Requirement(line) for line in (*PROJECT["dependencies"], *extras)]


def pins() -> dict[str, Version]:
    """Return constraints.txt as name → version; each line but comments must be an exact pin."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_every_requirement_is_pinned_within_its_range() -> None:
    pinned = pins()
    for requirement in requirements():
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_pins_fit_any_build_of_torch() -> None:
    assert all(version.local is None for version in pins().values())


def test_version_is_one() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## \[(\d\S*)\]", changelog, flags=re.MULTILINE)
    versions = {PROJECT["version"], citation["version"], metadata.version("fcp-seg"), released[0]}
    assert len(versions) == 1, versions


def test_package_imports_only_what_it_declares() -> None:
    distributions = metadata.packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "fcp"] if isinstance(node, ast.ImportFrom) else []
            foreign = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"fcp"}
            for name in foreign:
                owners = {canonicalize_name(owner) for owner in distributions[name]}
                assert owners & declared, f"{path.name} imports {name}"


def test_trainings_in_the_readme_are_valid() -> None:
    commands = re.findall(r"^fcp train (.*?) --", README, re.MULTILINE)
    assert commands
    for command in commands:
        name, *settings = command.split()
        recipe = load_recipe(find_recipe(name), tuple(settings))
        assert recipe.model.segmenter.name in SEGMENTERS
        assert recipe.model.backbone.name in BACKBONES


def test_first_python_of_the_readme_runs_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "readme.py").write_text(code)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    runpy.run_path(str(tmp_path / "readme.py"))
    assert capsys.readouterr().out.strip() == code.rpartition("  # ")[2].strip()
    assert read_size(Path("camera_mask.png")) == (512, 512)


def test_nothing_tells_people_to_install_a_strangers_package() -> None:
    stranger = re.compile(r"pip install (-\S+ )*['\"]?fcp(?![\w-])|(?<![\w-])fcp\[[a-z]")
    assert all(
        map(stranger.search, ("pip install 'fcp[app]'", "pip install -U fcp", "of fcp[app]"))
    )
    good = "pip install '.[app]' in the checkout, fcp-seg[app] or pip install fcp-seg; import fcp"
    assert not stranger.search(good)
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "pyproject.toml"]
    for folder, kind in (("src", "*.py"), ("docs", "*.md"), ("docs", "*.ipynb"), ("tests", "*.py")):
        texts += (path for path in (ROOT / folder).rglob(kind) if path != Path(__file__))
    told = {path.name for path in texts if stranger.search(path.read_text("utf-8"))}
    assert told == set()


def test_the_readme_of_an_index_points_to_nothing_that_is_not_there(monkeypatch) -> None:
    interface = ModuleType("hatchling.metadata.plugin.interface")  # builds alone have the real one
    interface.MetadataHookInterface = object
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    for_index = runpy.run_path(str(ROOT / "hatch_build.py"))["for_index"]
    assert for_index("![a](b.png)\n\n[c](d.md#e), [f](https://g.h)") == "c, [f](https://g.h)"
    targets = re.findall(r"\]\(([^)]+)\)", for_index(README))
    assert targets
    assert all(target.startswith("https://") for target in targets)


def test_the_source_distribution_is_small_beside_the_weights() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    sdist = build["targets"]["sdist"]
    assert "/docs/results/*/" in sdist["exclude"]
    results = set((ROOT / "docs/results").glob("*/**/*"))
    places = [path for pattern in sdist["include"] for path in ROOT.glob(pattern[1:])]
    found = {file for place in places for file in (place, *place.rglob("*")) if file.is_file()}
    kept = {f for f in found - results if f.suffix != ".safetensors" and f.parent.name[:2] != "__"}
    assert len(kept) > 400
    assert sum(len(zlib.compress(file.read_bytes(), 1)) for file in kept) < 3e6


PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *PAGES])
def test_local_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)", path.read_text("utf-8"))
    local = [path.parent / link for link in links if "://" not in link]
    broken = [str(link) for link in local if not link.exists()]
    if not list((ROOT / "docs/results").glob("*/")):  # a source distribution holds no results
        broken = [link for link in broken if "/docs/results/" not in str(Path(link).resolve())]
    assert broken == []
