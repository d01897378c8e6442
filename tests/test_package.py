"""What stands beside the code agrees with it: versions, pins and declared dependencies."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


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
    versions = {PROJECT["version"], citation["version"], metadata.version("fcp"), released[0]}
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
