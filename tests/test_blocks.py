"""Every block of the README, docs/ and the cards runs in an empty folder, a page each, toy size.

What a page speaks of lies there: examples, photos, data, trained models. The models that ship are
replaced by a toy of the same architecture. A line that cannot run here has its reason in
``REASONS``; a line that has none and does not run is a failure, and so is a reason without a line.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.models import loading

ROOT = Path(__file__).parent.parent
CARDS = sorted((ROOT / "src/fcp/models").glob("*/README.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *CARDS]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4,}((?:fcp|python) .*)$", re.MULTILINE)

# Start of a line, or of a block of Python → why it is not run here.
REASONS = {
    "git clone ": "needs the address of the project",
    "cd fcp": "needs the clone",
    "python3 -m venv ": "installs packages",
    "py -m venv ": "is for Windows",
    ".venv\\Scripts": "is for Windows",
    "source ": "changes the shell",
    "pip install ": "installs packages",
    "export LABEL_STUDIO_API_KEY": "needs a Label Studio server",
    "ML_BLOCK_LOCAL_IP": "starts a Label Studio server",
    "FCP_LABEL_STUDIO": "starts a Label Studio server; tests/label_studio/test_real_server.py",
    "fcp app": "waits for a browser; tests/app/test_browser.py",
    "fcp label-studio": "waits for Label Studio; tests/label_studio/test_server.py",
    "fcp demo": "takes minutes; tests/cli/test_demo.py",
    "fcp segment --support examples --query photos --out found --model free": "needs published "
    "weights; tests/cli/test_segment_free.py",
    "fcp segment --support examples --query photos --out found --model models/free": "needs "
    "published weights; tests/cli/test_segment_free.py",
    "fcp models --measure": "takes a minute; tests/inference/test_cost.py",
    "fcp segment --support examples --query clip.mp4": "needs a video; "
    "tests/cli/test_segment_films.py",
    "fcp evaluate --data-root DATA --fold 1 --model runs/pfenet-fold1": "needs a trained method; "
    "tests/cli/test_evaluate.py",
    "fcp evaluate --data-root DATA --fold 0 --model models/bam-fold0": "needs a trained method; "
    "tests/cli/test_evaluate.py",
    "fcp train ": "needs weights and hours; tests/test_docs.py reads its settings",
    "fcp calibrate ": "needs a trained model; tests/engine/test_calibrate.py",
    "fcp reproduce ": "needs weights and days; tests/reproduce",
    "fcp import-checkpoint ": "needs the authors' file; tests/models/test_checkpoint.py",
    "fcp data pascal ": "needs the download; tests/data/test_build_pascal.py",
    "fcp data coco ": "needs the download; tests/data/test_coco.py",
    "fcp data lvis ": "needs the download; tests/data/test_lvis.py",
    "fcp data fss1000 ": "needs the download; tests/data/test_fss1000.py",
    "fcp data bsds500 ": "needs the download; tests/data/test_build_bsds500.py",
    "fcp evaluate --benchmark lvis92i": "needs the download; tests/data/test_lvis.py",
    "python benchmarks/": "is a benchmark; tests/test_benchmarks.py",
    "from fcp.method.registry import": "needs published weights; tests/method/test_registry.py",
}
# Blocks that show what is printed, or files, and are no commands.
NO_COMMANDS = re.compile(
    r"(?:examples/b\.jpg: |nuclei: decided|mine/screw|objects/manifest|\$ fcp train tiny)"
)


@pytest.fixture(scope="module")
def desk(model_folder: Path, mini_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that pages presume: pictures, data, models of toy size."""
    folder = tmp_path_factory.mktemp("desk")
    demo = Path(str(files("fcp"))) / "demo"
    photo = Image.open(demo / "photos/astronaut.jpg").resize((64, 60))
    mask = Image.open(demo / "masks/astronaut.png").resize((64, 60))
    names = ("examples/astronaut", "foxes/fox", "cat", "dog1", "dog2")
    for turn, name in enumerate(names):  # each another picture
        (folder / name).parent.mkdir(exist_ok=True)
        photo.rotate(15 * turn).save(folder / f"{name}.jpg")
        mask.rotate(15 * turn).save(folder / f"{name}_mask.png")
    for inside in ("photos", "frames"):
        (folder / inside).mkdir()
    for name in ("photos/street", "frames/0", "frames/1", "photo", "street", "a", "b"):
        photo.rotate(30).save(folder / f"{name}.jpg")
    for data in ("data", "DATA"):
        (folder / data).symlink_to(mini_voc)
    for number in range(2):
        for kind, picture in (("images", photo), ("masks", mask)):
            (folder / f"mine/screw/{kind}").mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"mine/screw/{kind}/{number}.png")
    (folder / "runs").mkdir()
    folds = [
        f"runs/{kind}{fold}" for kind in ("fold", "tiny-fold", "further-fold") for fold in range(4)
    ]
    for name in ("runs/sam", "runs/mine", "runs/ssp-frozen", "vrp", "fcp", *folds):
        (folder / name).symlink_to(model_folder)
    return folder


@pytest.fixture
def place(desk: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the desk as the current folder, where tiny and small are the toy."""
    shutil.copytree(desk, tmp_path / "desk", symlinks=True)
    (tmp_path / "shipped/models").mkdir(parents=True)
    for name in loading.SHIPPED:
        (tmp_path / "shipped/models" / name).symlink_to(model_folder)
    monkeypatch.setattr(loading, "files", lambda _: tmp_path / "shipped")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of each block; a command that goes on is joined to one line."""
    text = page.read_text("utf-8")
    for language, block in BLOCK.findall(text):
        yield language, re.sub(r"\\\n\s*", "", block)
    for command in INDENTED.findall(BLOCK.sub("", text)):
        yield "", command


def reason(line: str) -> str | None:
    """Return why a line is not run; None if it is."""
    return next((start for start in REASONS if line.startswith(start)), None)


def run_line(line: str) -> None:
    """Run a command of a block; an optional part in brackets is left out."""
    command, *words = shlex.split(re.sub(r"\[[^\]]*\]", "", line), comments=True)
    assert command == "fcp", f"no reason for: {line}"
    if words[0] == "evaluate":
        words += ["--episodes", "2"]
    if "--shots" in words:
        words[words.index("--shots") + 1] = "1"  # a class has few pictures here
    if words[0] == "segment" and "--out" in words:
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{line}\n{done.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, place: Path) -> None:
    examples = [("examples/astronaut.jpg", "examples/astronaut_mask.png")]
    cats, dogs, foxes = ([(f"{n}.jpg", f"{n}_mask.png")] for n in ("cat", "dog1", "foxes/fox"))
    names = {"examples": examples, "cats": cats, "dogs": dogs, "foxes": foxes}
    for language, text in blocks(page):
        run_block(language, text, names)


def run_block(language: str, text: str, names: dict[str, object]) -> None:
    """Run a block of Python, or each line of a block of commands, unless it has a reason."""
    if language == "python" and reason(text) is None:
        run_python(text, names)
    elif language in ("", "powershell") and not NO_COMMANDS.match(text):
        for line in filter(str.strip, text.splitlines()):
            if reason(line) is None:
                run_line(line)


def run_python(text: str, names: dict[str, object]) -> None:
    """Run a block in the names of those before it on its page."""
    if "segmenter" not in names and "segmenter." in text and "segmenter =" not in text:
        from fcp import FewShotSegmenter

        names["segmenter"] = FewShotSegmenter.from_pretrained("tiny").fit(names["examples"])
    Path("block.py").write_text(text.replace("episodes=1000", "episodes=1"))
    with contextlib.redirect_stdout(io.StringIO()):
        after = runpy.run_path("block.py", names)
    names |= {name: value for name, value in after.items() if not name.startswith("__")}


def test_each_reason_has_its_line() -> None:
    lines = [
        line
        for page in PAGES
        for language, text in blocks(page)
        for line in ([text] if language == "python" else text.splitlines())
    ]
    used = {reason(line) for line in lines}
    assert set(REASONS) - used == set()


def test_a_block_that_does_not_run_is_seen(place: Path) -> None:
    with pytest.raises(AssertionError, match="No such option: --no"):
        run_line("fcp segment --no")
    with pytest.raises(AssertionError, match="no reason for: wget"):
        run_line("wget https://example.org")
