"""The documentation agrees with the program: messages, commands, links, and what it lets run."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fcp.cli.main import app
from fcp.cli.train import find_recipe
from fcp.engine.recipe import load_recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CARDS = sorted((ROOT / "src/fcp/models").glob("*/README.md"))
TEXTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "models/README.md")
PAGES = (*TEXTS, *sorted(DOCS.rglob("*.md")), *CARDS)
NOTEBOOK = DOCS / "first_result.ipynb"
GAP = "…"  # stands for what a message fills in

needs_photos = pytest.mark.skipif(
    not (find_spec("skimage") and find_spec("matplotlib")),
    reason="needs the photos of the extra demo",
)


def templates() -> Iterator[str]:
    """Yield every text of the program, with a gap for each value in it."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else GAP for p in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_that_are_explained_exist() -> None:
    text = (DOCS / "errors.md").read_text("utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    known = "\n".join(templates())
    assert len(quoted) > 40
    assert [message for message in quoted if message not in known] == []


@pytest.mark.parametrize("page", sorted((DOCS / "methods").glob("*.md")), ids=lambda p: p.stem)
def test_code_beside_equations_exists(page: Path) -> None:
    folder = ROOT / "src/fcp/method" / page.stem.replace("-", "_")
    for module, name in re.findall(r"`([a-z_]+)\.(\w+)[`(]", page.read_text("utf-8")):
        file = folder / f"{module}.py"
        if file.exists():
            assert name in _names_in(file), f"{page.name}: {module}.{name}"


def _names_in(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return defined | {n.id for n in nodes if isinstance(n, ast.Name)}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words behind ``fcp`` of each command on a page, in blocks and in the text."""
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    for line in re.findall(r"^(?:\s*(?:\$ )?|.*-m )fcp (.*)$|`fcp ([^`\n]+)`", text, re.MULTILINE):
        # Brackets say what may be left out; in quotes they are a list.
        yield shlex.split(re.sub(r"(?<!')\[|\](?!')|\|", "", "".join(line)), comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_the_options_that_pages_give_them(page: Path) -> None:
    for words in commands(page):
        known = {"--help", "--debug", "--version"}
        command = typer.main.get_command(app)
        for word in words:
            if word.startswith("-"):
                break
            inside = getattr(command, "commands", {})
            if inside and word != GAP:
                assert word in inside, f"{page}: fcp {' '.join(words)}"
                command = inside[word]
        known |= {name for parameter in command.params for name in parameter.opts}
        given = {word.split("=")[0] for word in words if re.match(r"--\w", word)}
        if GAP not in words[:2]:
            assert given <= known, f"{page}: fcp {' '.join(words)}"


def test_commands_are_found_and_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`fcp segment --no`\n\n```\n$ fcp train x \\\n    --dry-run  # why\n```\n")
    assert list(commands(page)) == [["segment", "--no"], ["train", "x", "--dry-run"]]
    with pytest.raises(AssertionError):
        test_commands_have_the_options_that_pages_give_them(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_trainings_have_settings_that_recipes_know(page: Path) -> None:
    shipped = {path.stem for path in find_recipe("tiny").parent.glob("*.yaml")}
    for command, name, *rest in (words for words in commands(page) if len(words) > 1):
        if command == "train" and name.removesuffix(".yaml") in shipped:
            settings = tuple(word for word in rest if re.match(r"\w[\w.]*=", word))
            load_recipe(find_recipe(name), settings)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_benchmarks_have_the_options_that_pages_give_them(page: Path) -> None:
    listed = (ROOT / "models/README.md").read_text("utf-8")
    for words in benchmark_commands(page):
        source = ast.parse((ROOT / "benchmarks" / words[0]).read_text("utf-8"))
        known = {node.value for node in ast.walk(source) if isinstance(node, ast.Constant)}
        assert {word for word in words if word.startswith("--")} <= known, f"{page}: {words}"
        for word in words:
            if word.startswith("models/"):
                assert (ROOT / word).is_dir(), f"{page}: {words}"
            elif re.match(r"runs/(tiny|small|tuned|further)", word):
                assert f"`{word}`" in listed, f"{page}: {words}; models/README.md lacks {word}"


def benchmark_commands(page: Path) -> Iterator[list[str]]:
    """Yield the script and the words behind it of each benchmark's command on a page."""
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    for line in re.findall(r"python benchmarks/([^`\n]+)", text):
        yield shlex.split(line.translate(str.maketrans("", "", "[]|…")), comments=True)


@pytest.mark.timeout(300)
def test_site_builds_without_any_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs the extra docs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    build(config)
    pages = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "api.html", "repository/CONTRIBUTING.md.html"} <= pages
    for path in pages:  # nothing is loaded from elsewhere
        html = (tmp_path / path).read_text("utf-8")
        assert re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=.?\w+://", html) == [], (
            path
        )
    api = (tmp_path / "api.html").read_text("utf-8")
    assert 'id="fcp.inference.segmenter.FewShotSegmenter.predict"' in api


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_first_page_leads_to_a_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "start.md").read_text("utf-8")
    make_folders, *rest = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.py").write_text(make_folders)
    runpy.run_path("first.py")
    command = next(words for words in commands(DOCS / "start.md") if words[0] == "segment")
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (tmp_path / "found/masks/camera.png").is_file()
    capsys.readouterr()
    (tmp_path / "second.py").write_text("".join(rest))
    runpy.run_path("second.py")
    assert f"# {capsys.readouterr().out.strip()}\n" in text


def test_the_table_of_models_is_the_commands() -> None:
    done = CliRunner().invoke(app, ["models"])
    page = (DOCS / "models.md").read_text("utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", page, re.MULTILINE)
    shown = [re.split(r" {2,}", line)[:4] for line in done.stdout.split("\n\n")[0].splitlines()[1:]]
    assert [list(row) for row in rows if row[1].endswith(("B", "none"))] == shown
    ours = {row[0] for row in rows}
    for name in re.findall(r"--model (free:[^`]+)`", page):
        assert name in ours


def api_example(function: str) -> str:
    """Return the block of the page about the Python API that calls a function."""
    text = (DOCS / "api.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (block,) = (block for block in blocks if f"{function}(" in block)
    return str(block)


def test_labelling_example_of_the_api_page_runs_and_goes_on(
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, name, colour in (("examples", "a", 90), ("photos", "b", 60), ("photos", "c", 30)):
        Path(folder).mkdir(exist_ok=True)
        Image.new("RGB", (50, 40), (colour, 120, 200)).save(f"{folder}/{name}.png")
    mask = Image.new("L", (50, 40))
    mask.paste(255, (10, 10, 30, 30))
    mask.save("examples/a_mask.png")
    Path("label.py").write_text(api_example("label_folder").replace("tiny", str(model_folder)))
    for done_before in (0, 2):
        runpy.run_path("label.py")
        told = f"2 photos, {done_before} of them done before, 0 failed\n"
        assert capsys.readouterr().out == told
    assert {path.name for path in Path("found/masks").iterdir()} == {"b.png", "c.png"}


def test_evaluation_example_of_the_api_page_runs(
    model_folder: Path,
    mini_voc: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(mini_voc)
    Path("runs").mkdir()
    for fold in range(4):
        Path(f"runs/fold{fold}").symlink_to(model_folder)
    Path("score.py").write_text(api_example("plan_folds").replace("1000", "1"))
    runpy.run_path("score.py")
    report = json.loads(Path("all.json").read_text())
    assert report["protocol"]["fold"] == [0, 1, 2, 3]
    assert capsys.readouterr().out == f"mIoU {100 * report['miou']:.1f} over 4 folds\n"


def test_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@needs_photos
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    done = client.NotebookClient(notebook, timeout=300, resources=place).execute()
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")
    assert (tmp_path / "found/coco.json").is_file()
