"""The rules that keep the tree readable, each as a small function over a file's syntax tree.

Imports go downward, foreign libraries stay behind their fence, sizes stay under their ceiling. Each
rule is run on every file of its scope, and on a bad and a good snippet that prove it can fail.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "fcp"

# From top to bottom; names on one line do not see each other. `__init__` is the public surface.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("app", "label_studio"),
    ("__init__",),
    ("reproduce", "labelling"),
    ("engine", "report"),
    ("evaluation", "inference"),
    ("features", "models", "formats", "visualize"),
    ("method",),
    ("encoders", "data"),
    ("layers",),
    ("structures",),
    ("config",),
    ("checks", "system"),
    ("errors",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Library → the only modules that may import it.
FENCES = {
    "transformers": ("fcp.encoders",),
    "accelerate": ("fcp.engine",),
    "matplotlib": ("fcp.reproduce",),
    "PIL": ("fcp.data", "fcp.visualize"),
    "typer": ("fcp.cli",),
    "gradio": ("fcp.app",),
    "rich": ("fcp.cli",),
    "starlette": ("fcp.label_studio",),
    "uvicorn": ("fcp.label_studio",),
    "ot": ("fcp.method",),
    "av": ("fcp.data",),
}
BELOW_TORCH = ("fcp.checks", "fcp.config", "fcp.system.documents", "fcp.errors")

FUNCTION_LINES = 40  # without the docstring
FILE_LINES = 400
POSITIONAL = 6
PARAMETERS = 10  # with those that go by keyword alone
NESTING = 3
ABSOLUTE_PATH = re.compile(r"(/|~/|[A-Za-z]:\\)\w")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)


@dataclass(frozen=True)
class Source:
    """One Python file: its dotted name (``fcp.data.__init__`` for a package), text and tree."""

    module: str
    text: str
    tree: ast.Module = field(init=False)
    every_node: tuple[ast.AST, ...] = field(init=False)  # walked once for all rules

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", ast.parse(self.text))
        object.__setattr__(self, "every_node", tuple(ast.walk(self.tree)))

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """Every node of these kinds, however deep."""
        return (node for node in self.every_node if isinstance(node, kinds))

    def imports(self) -> Iterator[str]:
        """Every imported dotted name, also those inside functions."""
        for node in self.nodes(ast.Import, ast.ImportFrom):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            else:
                start = "." * node.level + (node.module or "")
                yield from (f"{start}.{alias.name}" for alias in node.names)

    @functools.cached_property
    def calls(self) -> tuple[tuple[str, ast.Call], ...]:
        """Every call with what is called, as written."""
        return tuple((ast.unparse(node.func), node) for node in self.nodes(ast.Call))


@functools.cache
def read(folder: Path, prefix: str) -> list[Source]:
    """Return the files of a folder as sources named by their place."""
    names = {p: p.relative_to(folder).with_suffix("").parts for p in sorted(folder.rglob("*.py"))}
    return [Source(".".join((prefix, *parts)), p.read_text("utf-8")) for p, parts in names.items()]


def layer_of(imported: str) -> str:
    """``fcp.data.images.read_image`` → ``data``; a name that is no module → the surface."""
    name = imported.split(".")[1:2]
    return name[0] if name and name[0] in RANK else "__init__"


def imports_go_downward(source: Source) -> Iterator[str]:
    """A module imports its own layer's folder and the layers below, by full names."""
    own = source.module.split(".")[1]
    if own not in RANK:
        yield f"{own} has no place in LAYERS"
        return
    for imported in source.imports():
        if imported.startswith("."):
            yield f"relative import {imported}"
        elif imported.split(".")[0] == "fcp":
            other = layer_of(imported)
            if other != own and RANK[other] <= RANK[own]:
                yield f"{own} must not import {imported} ({other} is not below it)"


def libraries_stay_behind_their_fence(source: Source) -> Iterator[str]:
    """Each fenced library is imported only where FENCES says."""
    for imported in source.imports():
        allowed = FENCES.get(imported.split(".")[0])
        if allowed is not None and not f"{source.module}.".startswith(
            tuple(f"{name}." for name in allowed)
        ):
            yield f"{imported} is allowed only in {', '.join(allowed) or 'no module'}"


def config_needs_no_torch(source: Source) -> Iterator[str]:
    """Configuration and errors cost the command line nothing: standard library and yaml."""
    if source.module in BELOW_TORCH:
        heavy = {"torch", "numpy", "scipy", "safetensors", "huggingface_hub"}
        yield from (name for name in source.imports() if name.split(".")[0] in heavy)


def formats_need_no_torch(source: Source) -> Iterator[str]:
    """A wrong annotation file is told at once, not after the seconds that torch takes to load."""
    if source.module.startswith("fcp.formats"):
        yield from (name for name in source.imports() if name.split(".")[0] == "torch")


def device_follows_the_data(source: Source) -> Iterator[str]:
    """``.cuda()`` never appears."""
    yield from (f"{name}(…)" for name, _ in source.calls if name.endswith(".cuda"))


def one_module_pools(source: Source) -> Iterator[str]:
    """PyTorch's pooling to any grid fails on MPS; ``fcp.layers.pool`` does not."""
    if source.module != "fcp.layers.pool":
        named = (node.attr for node in source.nodes(ast.Attribute))
        yield from (name for name in named if re.match(r"(?i)adaptive_?(avg|max)_?pool", name))


def only_the_command_line_prints(source: Source) -> Iterator[str]:
    """Libraries return or log; they do not print."""
    if source.module.split(".")[1] != "cli":
        yield from (f"line {call.lineno}" for name, call in source.calls if name == "print")


def nothing_runs_text_as_code(source: Source) -> Iterator[str]:
    """No eval and no exec."""
    yield from (name for name, _ in source.calls if name in {"eval", "exec", "compile"})


def files_are_never_unpickled(source: Source) -> Iterator[str]:
    """``torch.load`` says ``weights_only=True``; numpy never ``allow_pickle=True``; no pickle."""
    loaders = {"torch.load", "pickle.load", "pickle.loads"}
    yield from (name for name in source.imports() if name in loaders)
    for name, call in source.calls:
        true = {k.arg for k in call.keywords if ast.unparse(k.value) == "True"}
        if (name in loaders and "weights_only" not in true) or "allow_pickle" in true:
            yield f"line {call.lineno}: {ast.unparse(call)}"


def paths_come_from_the_caller(source: Source) -> Iterator[str]:
    """No string is an absolute path (the tail of an f-string, such as ``/name``, is none)."""
    tails = {id(part) for node in source.nodes(ast.JoinedStr) for part in node.values[1:]}
    for node in source.nodes(ast.Constant):
        if isinstance(node.value, str) and id(node) not in tails:
            if ABSOLUTE_PATH.match(node.value):
                yield f"line {node.lineno}: {node.value[:40]!r}"


def files_are_short(source: Source) -> Iterator[str]:
    """At most FILE_LINES lines."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES:
        yield f"{lines} lines > {FILE_LINES}"


def functions_are_short(source: Source) -> Iterator[str]:
    """At most FUNCTION_LINES lines from ``def`` to the end, the docstring left out."""
    for function in source.nodes(*FUNCTIONS):
        lines = function.end_lineno - function.lineno + 1
        if ast.get_docstring(function) is not None:
            docstring = function.body[0]
            lines -= docstring.end_lineno - docstring.lineno + 1
        if lines > FUNCTION_LINES:
            yield f"{function.name}: {lines} lines > {FUNCTION_LINES}"


def functions_take_few_arguments(source: Source) -> Iterator[str]:
    """At most POSITIONAL by position and PARAMETERS in all; a command's are its options."""
    for function in source.nodes(*FUNCTIONS):
        arguments = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        count = len([name for name in arguments if name not in {"self", "cls"}])
        if count > POSITIONAL:
            yield f"{function.name}: {count} positional parameters > {POSITIONAL}"
        every = count + len(function.args.kwonlyargs)
        if every > PARAMETERS and not source.module.startswith("fcp.cli."):
            yield f"{function.name}: {every} parameters > {PARAMETERS}"


def nesting_is_flat(source: Source) -> Iterator[str]:
    """At most NESTING blocks inside each other in a function."""
    for function in source.nodes(*FUNCTIONS):
        if nesting(function) > NESTING:
            yield f"{function.name}: {nesting(function)} nested blocks > {NESTING}"


def nesting(node: ast.AST) -> int:
    """Return how deep blocks nest below a node; an ``elif`` is no deeper than its ``if``."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
            continue
        elif_ = isinstance(child, ast.If) and child.col_offset == getattr(node, "col_offset", -1)
        step = isinstance(child, BLOCKS) and not elif_
        deepest = max(deepest, nesting(child) + step)
    return deepest


def public_things_are_documented(source: Source) -> Iterator[str]:
    """The module and each public class, function and method say what they are."""
    classes = [c for c in source.nodes(ast.ClassDef) if not c.name.startswith("_")]
    inside = [node for owner in (source.tree, *classes) for node in owner.body]
    named = [node for node in inside if isinstance(node, (*FUNCTIONS, ast.ClassDef))]
    public = [node for node in named if not node.name.startswith("_")]
    for node in (source.tree, *public):
        if ast.get_docstring(node) is None:
            yield getattr(node, "name", "the module")


Rule = Callable[[Source], Iterator[str]]
EVERYWHERE: tuple[Rule, ...] = (
    device_follows_the_data,
    nothing_runs_text_as_code,
    files_are_never_unpickled,
    files_are_short,
    functions_are_short,
    functions_take_few_arguments,
    nesting_is_flat,
)
IN_THE_PACKAGE: tuple[Rule, ...] = (
    *EVERYWHERE,
    imports_go_downward,
    libraries_stay_behind_their_fence,
    config_needs_no_torch,
    formats_need_no_torch,
    one_module_pools,
    only_the_command_line_prints,
    paths_come_from_the_caller,
    public_things_are_documented,
)

# One bad and one good snippet per rule, each read as the module before it.
SNIPPETS: tuple[tuple[Rule, str, str, str], ...] = (
    (imports_go_downward, "fcp.layers.masked", "import fcp.method", "import fcp.structures"),
    (imports_go_downward, "fcp.data.coco", "from fcp.encoders import sam", "import fcp.data.a"),
    (imports_go_downward, "fcp.data.a", "import fcp.formats.yolo", "from fcp.data import images"),
    (imports_go_downward, "fcp.encoders.sam", "from fcp import method", "from fcp import layers"),
    (imports_go_downward, "fcp.inference.a", "from fcp import FCP", "import fcp.method.fcp"),
    (imports_go_downward, "fcp.cli.main", "from . import train", "from fcp import FCP"),
    (libraries_stay_behind_their_fence, "fcp.structures", "import transformers", "import torch"),
    (
        libraries_stay_behind_their_fence,
        "fcp.evaluation.report",
        "def f():\n    from accelerate import Accelerator",
        "accelerate = 1",
    ),
    (config_needs_no_torch, "fcp.config", "import torch.nn", "import yaml"),
    (formats_need_no_torch, "fcp.formats.yolo", "def f():\n    import torch", "import numpy"),
    (device_follows_the_data, "fcp.structures", "mask.cuda()", "mask.to(image.device)"),
    (one_module_pools, "fcp.layers.grid", "F.adaptive_avg_pool2d(x, 4)", "mean_pool(x, (4, 4))"),
    (only_the_command_line_prints, "fcp.structures", "print(1)", "report(1)"),
    (nothing_runs_text_as_code, "fcp.data.lists", "eval('1')", "model.eval()"),
    (files_are_never_unpickled, "fcp.a", "torch.load(f)", "torch.load(f, weights_only=True)"),
    (files_are_never_unpickled, "fcp.models.a", "from torch import load", "import torch"),
    (files_are_never_unpickled, "fcp.data.coco", "np.load(f, allow_pickle=True)", "np.load(f)"),
    (paths_come_from_the_caller, "fcp.data.pascal", "'/data/VOC'", "f'{root}/VOC'"),
    (files_are_short, "fcp.structures", "\n" * 401, "\n" * 400),
    (
        functions_are_short,
        "fcp.structures",
        "def f():\n" + "    x = 1\n" * 40,
        'def f():\n    """A.\n\n    B.\n    """\n' + "    x = 1\n" * 39,
    ),
    (
        functions_take_few_arguments,
        "fcp.structures",
        "def f(a, b, c, d, e, f, g): ...",
        "class A:\n    def f(self, a, b, c, d, e, f, *, g): ...",
    ),
    (
        functions_take_few_arguments,
        "fcp.structures",
        "def f(a, *, b, c, d, e, f, g, h, i, j, k): ...",
        "def f(a, *, b, c, d, e, f, g, h, i, j): ...",
    ),
    (
        nesting_is_flat,
        "fcp.structures",
        "def f():\n for a in b:\n  with c:\n   if d:\n    while e: ...",
        "def f():\n for a in b:\n  with c:\n   if d: ...\n   elif e: ...\n   elif g: ...",
    ),
    (public_things_are_documented, "fcp.structures", "'A.'\ndef f(): ...", "'A.'\ndef _f(): ..."),
    (public_things_are_documented, "fcp.structures", "x = 1", "'A.'"),
)


def violations(rule: Rule, sources: list[Source]) -> list[str]:
    """Return what breaks the rule, file by file."""
    return [f"{source.module}: {found}" for source in sources for found in rule(source)]


@pytest.mark.parametrize("rule", IN_THE_PACKAGE, ids=lambda rule: rule.__name__)
def test_package_keeps(rule: Rule) -> None:
    found = violations(rule, read(PACKAGE, "fcp"))
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "docs"])
@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_other_code_keeps(rule: Rule, folder: str) -> None:
    found = violations(rule, read(ROOT / folder, folder))
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(("rule", "module", "bad", "good"), SNIPPETS)
def test_rule_can_fail_and_pass(rule: Rule, module: str, bad: str, good: str) -> None:
    assert list(rule(Source(module, bad)))
    assert not list(rule(Source(module, good)))


def test_new_module_must_take_a_place() -> None:
    assert list(imports_go_downward(Source("fcp.drawer", "import math")))


def test_every_rule_has_a_snippet() -> None:
    assert {rule for rule, *_ in SNIPPETS} == set(IN_THE_PACKAGE)


def import_graph(sources: list[Source]) -> dict[str, set[str]]:
    """Return module → the package's own modules that it imports."""
    modules = {source.module.removesuffix(".__init__"): source for source in sources}
    graph: dict[str, set[str]] = {}
    for name, source in modules.items():
        prefixes = {imported.rsplit(".", n)[0] for imported in source.imports() for n in (0, 1)}
        graph[name] = (prefixes & set(modules)) - {name}
    return graph


def test_no_import_goes_in_a_circle() -> None:
    graphlib.TopologicalSorter(import_graph(read(PACKAGE, "fcp"))).prepare()


def test_circle_is_seen() -> None:
    sources = [
        Source("fcp.data.a", "import fcp.data.b"),
        Source("fcp.data.b", "from fcp.data.a import x"),
    ]
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(import_graph(sources)).prepare()


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {f.name for f in folders if not (f / "__init__.py").exists()} == set()


def test_tests_mirror_the_tree() -> None:
    tests = ROOT / "tests"
    folders = {p.parent.relative_to(tests) for p in tests.rglob("test_*.py")}
    known = {p.parent.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py")} | {Path("benchmarks")}
    assert folders <= known
