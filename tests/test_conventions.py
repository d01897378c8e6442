"""What keeps tests and texts in step with the code: each rule can fail, and is shown to.

Each module has its test file, or stands in ``TESTED_BY`` with the file that tests it; tests use
what is public; fences are used; entries of docstrings are noun phrases.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from test_architecture import FENCES, PACKAGE, ROOT, Source, read

TESTS = ROOT / "tests"

# Module without a test file of its name, or folder of such → the file that tests it.
TESTED_BY = {
    "app/bombs.py": "app/test_uploads.py",
    "app/download.py": "app/test_drawn.py",
    "app/gallery.py": "app/test_runs.py",
    "app/limits.py": "app/test_uploads.py",
    "app/page.py": "app/test_browser.py",
    "app/parts.py": "app/test_browser.py",
    "app/threshold.py": "app/test_results_tab.py",
    "app/serve.py": "app/test_browser.py",
    "app/small.py": "app/test_runs.py",
    "app/why.py": "app/test_runs.py",
    "cli/checkpoint.py": "models/test_checkpoint.py",
    "cli/data_table.py": "cli/test_data.py",
    "cli/demo_page.py": "cli/test_demo.py",
    "cli/episodes.py": "cli/test_evaluate.py",
    "cli/label_studio.py": "label_studio/test_server.py",
    "cli/options.py": "cli/test_main.py",
    "cli/segment_options.py": "cli/test_segment_classes.py",
    "data/bands.py": "data/test_value_range.py",
    "data/build_fss1000.py": "data/test_fss1000.py",
    "data/coco_index.py": "data/test_coco.py",
    "data/dataset.py": "data/test_pascal.py",
    "data/decode_errors.py": "data/test_decode.py",
    "data/pages.py": "data/test_decode.py",
    "data/png.py": "data/test_photos.py",
    "data/sources.py": "data/test_benchmarks.py",
    "data/tiff.py": "data/test_photos.py",
    "data/video_writing.py": "cli/test_segment_films.py",
    "encoders/many_prompts.py": "encoders/test_sam.py",
    "encoders/places.py": "encoders/test_published.py",
    "encoders/pixels.py": "encoders/test_auto.py",
    "encoders/sam2.py": "encoders/test_sam.py",
    "encoders/sam_hq.py": "encoders/test_sam.py",
    "engine/average.py": "engine/test_train_stored.py",
    "engine/checkpoints.py": "engine/test_loop.py",
    "engine/dry_run_method.py": "engine/test_dry_run.py",
    "engine/episodic.py": "engine/test_episode_batches.py",
    "engine/method_recipe.py": "engine/test_recipe.py",
    "engine/method_stage.py": "engine/test_train_method.py",
    "engine/mixtures.py": "engine/test_train_stored.py",
    "engine/pixel_batches.py": "engine/test_train_pixels.py",
    "engine/stored_batches.py": "engine/test_train_stored.py",
    "engine/tracking.py": "engine/test_train.py",
    "engine/train_free.py": "engine/test_train_method.py",
    "engine/train_head.py": "engine/test_train.py",
    "engine/train_segmenter.py": "engine/test_train.py",
    "engine/view_store.py": "engine/test_train_stored.py",
    "evaluation/seen.py": "evaluation/test_report.py",
    "formats/masks.py": "formats/test_public_layouts.py",
    "formats/cvat_xml.py": "formats/test_exports.py",
    "formats/run_lengths.py": "formats/test_polygons.py",
    "formats/voc_xml.py": "formats/test_exports.py",
    "inference/class_encoding.py": "inference/test_example_quality.py",
    "engine/labelled.py": "cli/test_segment_free.py",
    "inference/examples.py": "inference/test_segmenter.py",
    "inference/networks/base.py": "inference/networks/test_trained.py",
    "inference/networks/fcp.py": "inference/test_presence.py",
    "inference/packing.py": "inference/test_support.py",
    "inference/photo_matching.py": "inference/test_segmenter.py",
    "label_studio/hints.py": "label_studio/test_backend.py",
    "label_studio/predictions.py": "label_studio/test_backend.py",
    "label_studio/store.py": "label_studio/test_examples.py",
    "labelling/export.py": "labelling/test_memory.py",
    "labelling/films.py": "cli/test_segment_films.py",
    "labelling/photo_results.py": "labelling/test_results.py",
    "labelling/photos.py": "labelling/test_memory.py",
    "labelling/resume.py": "cli/test_segment.py",
    "labelling/start.py": "labelling/test_run.py",
    "labelling/task.py": "labelling/test_run.py",
    "method": "method/test_base.py",
    "method/bam": "method/test_bam.py",
    "method/cyctr": "method/test_cyctr.py",
    "method/gf_sam": "method/test_registry.py",
    "method/contrast": "method/test_registry.py",
    "method/hdmnet": "method/test_hdmnet.py",
    "method/insid3": "method/test_registry.py",
    "method/matcher": "method/test_registry.py",
    "method/persam": "method/test_registry.py",
    "method/pfenet": "method/test_pfenet.py",
    "method/ssp": "method/test_ssp.py",
    "method/fcp/heads.py": "method/fcp/test_head.py",
    "method/fcp/losses/correlation.py": "method/fcp/losses/test_criterion.py",
    "method/fcp/plain_decoder.py": "method/fcp/test_model.py",
    "method/fcp/prompt_head.py": "method/fcp/test_head.py",
    "method/fcp/prototypes/output.py": "method/fcp/test_head.py",
    "method/fcp/vrp_head.py": "method/fcp/test_head.py",
    "models/free.py": "inference/networks/test_free.py",
    "models/files.py": "models/test_checkpoint.py",
    "models/folder.py": "models/test_trained.py",
    "report/entries.py": "report/test_write.py",
    "reproduce/table1.py": "reproduce/test_tables.py",
    "reproduce/results.py": "reproduce/test_tables.py",
    "system/groups.py": "system/test_threads.py",
    "structures.py": "method/fcp/test_model.py",
}
BARE = re.compile(
    r"(of|whose|that|what|how|which|where|who|when|in|as|to|for|is|are|at|on|with|from|until|them|it)\b"
)
PRIVATE = re.compile(r"_(?!_)")
ENTRY = re.compile(r"^    \*{0,2}\w+: (.*)")
SECTION = re.compile(r"^(\w+):$")


def test_each_module_has_its_tests() -> None:
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    own = {m for m in modules if (TESTS / m.parent / f"test_{m.name}").exists()}
    left = {str(m) for m in modules if m.name not in ("__init__.py", "__main__.py")}
    left -= {str(m) for m in own}
    named = {m if m in TESTED_BY else str(Path(m).parent) for m in left}
    assert named == set(TESTED_BY)
    assert [test for test in TESTED_BY.values() if not (TESTS / test).exists()] == []


def private_names(source: Source) -> Iterator[str]:
    """Yield what a test takes from the package although it is private there."""
    imports = [n for n in source.nodes(ast.ImportFrom) if n.module.split(".")[0] == "fcp"]
    taken = [(node.module, alias) for node in imports for alias in node.names]
    yield from (f"{home}.{alias.name}" for home, alias in taken if PRIVATE.match(alias.name))
    names = {alias.asname or alias.name for _, alias in taken}
    for node in source.nodes(ast.Attribute):
        owner = getattr(node.value, "id", None)
        if owner in names and PRIVATE.match(node.attr):
            yield f"{owner}.{node.attr}"


def test_tests_use_what_is_public() -> None:
    found = [f"{s.module}: {name}" for s in read(TESTS, "tests") for name in private_names(s)]
    assert found == [], "\n".join(found)


def test_a_private_name_is_seen() -> None:
    assert list(private_names(Source("t", "from fcp.data.images import _read")))
    assert list(private_names(Source("t", "from fcp.data import images\nimages._read()")))
    assert not list(private_names(Source("t", "from fcp.data import images\nimages.read()")))


def test_each_fence_is_used() -> None:
    imported = {
        (name.split(".")[0], source.module)
        for source in read(PACKAGE, "fcp")
        for name in source.imports()
    }
    for library, homes in FENCES.items():
        for home in homes:
            used = [m for lib, m in imported if lib == library and f"{m}.".startswith(f"{home}.")]
            assert used, f"{library}: {home} does not import it any more"


def bare_entries(text: str) -> Iterator[str]:
    """Yield the entries of a docstring's Args and Attributes that are no noun phrases."""
    section = ""
    for line in text.splitlines():
        heading, entry = SECTION.match(line), ENTRY.match(line)
        if heading or (line and not line.startswith(" ")):
            section = heading[1] if heading else ""
        elif entry and section in ("Args", "Attributes") and BARE.match(entry[1]):
            yield line.strip()


def docstrings(folder: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the docstrings of a folder's classes and functions, with their names."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for source in read(folder, prefix):
        for node in source.nodes(*kinds):
            yield f"{source.module}.{node.name}", ast.get_docstring(node) or ""


def test_entries_are_noun_phrases() -> None:
    found = [f"{n}: {e}" for n, text in docstrings(PACKAGE, "fcp") for e in bare_entries(text)]
    assert found == [], "\n".join(found)


def test_a_bare_entry_is_seen() -> None:
    assert list(bare_entries("Do it.\n\nArgs:\n    model: of the task.\n"))
    assert not list(bare_entries("Do it.\n\nArgs:\n    model: Model of the task.\n"))
    assert not list(bare_entries("Do it.\n\nRaises:\n    FcpError: of no model.\n"))
