"""`fcp segment` onto a disk that is really full: a small one in memory, where it can be mounted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from fcp.cli.main import app

FORMATS = ("png", "coco", "labelme", "cvat")
PAGE = 4096  # bytes, the least that such a disk gives a file
ROOM = 16 << 20


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Return a function: bytes → the folder of a disk of that size, the same at each call."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", *options, str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a disk in memory, on Linux")
    done = mount("-t", "tmpfs", "-o", f"size={ROOM}", "none")
    if done.returncode:
        pytest.skip(f"no disk in memory can be mounted here: {done.stderr.strip()}")

    def resize(size: int) -> Path:
        again = mount("-o", f"remount,size={size}")
        assert again.returncode == 0, again.stderr
        return folder

    yield resize
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def run(tmp_path, model_folder) -> Callable[..., Result]:
    """Return a function: output folder and options → the command, done."""
    for name in ("examples", "photos"):
        (tmp_path / name).mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (7, 60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[10:40, 10:50] = True
    Image.fromarray(noise[0]).save(tmp_path / "examples/a.png")
    Image.fromarray(mask).save(tmp_path / "examples/a_mask.png")
    for number in range(1, 7):
        Image.fromarray(noise[number]).save(tmp_path / f"photos/{number}.png")

    def segment(out: Path, *more: object, photos: str = "photos") -> Result:
        fixed = ["--support", tmp_path / "examples", "--query", tmp_path / photos, "--out", out]
        quick = ["--device", "cpu", "--appearance", "off", "--min-area", 0, "--min-score", 0]
        kinds = [part for name in FORMATS for part in ("--format", name)]
        arguments = ["segment", *fixed, "--model", model_folder, *quick, *kinds, *more]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return segment


def content(out: Path) -> dict[str, bytes]:
    """Return the files of a run but those that hold dates and seconds."""
    files = (path for path in out.rglob("*") if path.is_file())
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in files}
    return {n: b for n, b in found.items() if n not in ("results.json", "report.html")}


def used(out: Path) -> int:
    """Return what a disk needs for a folder, with its folders."""
    return sum(PAGE * -(-path.lstat().st_size // PAGE) for path in out.rglob("*"))


def check_whole(out: Path, wanted: dict[str, bytes]) -> int:
    """Check that each file is as it will be, or absent; returns how many photos are recorded."""
    left = content(out)
    records = left.pop("results.unfinished.jsonl", b"").splitlines()
    assert {name: wanted.get(name) for name in left} == left
    if not (out / "results.json").exists():
        return 0
    book = json.loads((out / "results.json").read_bytes())
    assert (out / "report.html").exists() <= (len(book["results"]) == 6)
    return len(book["results"]) + len(records)


def test_a_full_disk_loses_nothing_and_the_run_goes_on(run, disk, tmp_path):
    plenty = tmp_path / "plenty/out"  # as deep, since some files hold paths
    assert run(plenty).exit_code == 0
    wanted, most = content(plenty), used(plenty)
    said = set()
    for share in (0.0, 0.1, 0.5, 0.8, 0.95):
        out = disk(PAGE * max(1, int(share * most / PAGE))) / "out"
        done = run(out)
        before = 0
        if done.exit_code:
            assert done.exit_code == 1, done.output
            (line,) = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
            assert "No space left on device" in line
            assert str(out) in line
            said.add("--resume" in line)
            before = check_whole(out, wanted)
            again = run(out, "--resume")  # still full: nothing is lost by trying
            assert again.exit_code == 1, again.output
            assert check_whole(out, wanted) >= before
        disk(ROOM)
        went_on = run(out, "--resume")
        assert went_on.exit_code == 0, went_on.output
        assert content(out) == wanted
        for path in out.rglob("*"):
            assert not path.name.startswith("."), path
        subprocess.run(["rm", "-r", str(out)], check=True)
    assert said == {True, False}  # before the first photo there is nothing to go on with


def test_more_photos_on_a_full_disk_cost_nothing_of_the_earlier_run(run, disk, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for number in (1, 2):
        (few / f"{number}.png").symlink_to(tmp_path / f"photos/{number}.png")
    out = disk(ROOM) / "out"
    assert run(out, photos="few").exit_code == 0
    (few / "3.png").symlink_to(tmp_path / "photos/3.png")
    before = content(out)
    disk(used(out.parent) + 2 * PAGE)
    done = run(out, "--resume", photos="few")
    assert done.exit_code == 1, done.output
    assert done.stderr.count("error: ") == 1
    after = content(out)
    assert {name: after.get(name) for name in before if "/1." in name or "/2." in name} == {
        name: value for name, value in before.items() if "/1." in name or "/2." in name
    }
    assert len(json.loads((out / "results.json").read_bytes())["results"]) >= 2
    disk(ROOM)
    assert run(out, "--resume", photos="few").exit_code == 0
    assert (out / "masks/3.png").is_file()
