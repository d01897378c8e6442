"""`fcp train`: read a recipe and run its stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fcp.engine.checkpoints import CHECKPOINT_FILE
from fcp.engine.method_recipe import BaseLearnerRecipe, FreeRecipe, MethodRecipe
from fcp.engine.processes import hold_run, is_main
from fcp.engine.recipe import (
    Recipe,
    SegmenterRecipe,
    load_recipe,
    refuse_idle_settings,
    refuse_other_recipe,
)
from fcp.engine.tracking import Report, say_nothing
from fcp.errors import FcpError
from fcp.features.cache import FeatureCache
from fcp.models.files import BEST_FOLDER, CONFIG_FILE, RECIPE_FILE, WEIGHTS_FILE
from fcp.models.folder import holds_model, remove_model
from fcp.system.files import remove_leftovers

_WRITTEN = (CHECKPOINT_FILE, RECIPE_FILE, CONFIG_FILE, WEIGHTS_FILE)


def train(
    recipe: Path,
    *,
    overrides: tuple[str, ...],
    data_root: Path,
    out: Path,
    resume: bool,
    report: Report,
    store: FeatureCache | None = None,
) -> None:
    """Train what a recipe describes; with several processes, each calls this.

    A recipe that trains nothing writes its model as it starts.

    Args:
        recipe: YAML file.
        overrides: Settings ``key=value`` that win over the file's.
        data_root: Folder that holds ``VOC2012/`` (and ``BSDS500/`` for the segmenter).
        out: Folder of ``recipe.json`` (the recipe as it was run), log, checkpoint and result.
        resume: Whether to go on from the checkpoint in ``out``.
        report: Function that takes each line of output.
        store: Store of frozen features, for a head whose features do not change; None for no store.

    Raises:
        FcpError: a bad recipe, one that does not continue the run in ``out``, a run in ``out``
            without ``resume`` or in another process, a model there without a checkpoint, missing
            data or weights, or a loss that is not finite.
    """
    loaded = load_recipe(recipe, overrides)
    with hold_run(out):
        _prepare(loaded, out, resume=resume)
        said = report if is_main() else say_nothing
        _run(loaded, {"data_root": data_root, "out": out, "resume": resume, "report": said}, store)


def _prepare(loaded: Recipe, out: Path, *, resume: bool) -> None:
    has_checkpoint = (out / CHECKPOINT_FILE).exists()
    if not resume:
        refuse_idle_settings(loaded)
        if has_checkpoint:
            raise FcpError(
                f"{out}: holds a run already; go on with --resume, or choose another --out"
            )
    # It is written last: a run that was killed before may go on.
    if is_main() and not has_checkpoint and (out / CONFIG_FILE).exists():
        raise FcpError(f"{out}: holds a model already; choose another --out")
    if resume and (out / RECIPE_FILE).exists():
        refuse_other_recipe(out / RECIPE_FILE, loaded)
    if is_main():
        # Half-written files of a killed run are of no use.
        remove_leftovers(out / name for name in _WRITTEN)
    if is_main() and not resume:
        _remove_best(out)


def _remove_best(out: Path) -> None:
    """Remove the best model of a run without checkpoint, which this run might not replace.

    Raises:
        FcpError: no run has written it.
    """
    best = out / BEST_FOLDER
    if not holds_model(best):
        return
    if not (out / RECIPE_FILE).exists():
        raise FcpError(f"{best}: holds a model already; choose another --out")
    remove_model(best)


def _run(loaded: Recipe, run: dict[str, Any], store: FeatureCache | None) -> None:
    if isinstance(loaded, SegmenterRecipe):
        if store is not None:
            raise FcpError("feature cache: the promptable stage trains its encoder; leave it out")
        from fcp.engine.train_segmenter import train_segmenter

        train_segmenter(loaded, **run)
    elif isinstance(loaded, FreeRecipe):
        from fcp.engine.train_free import write_free

        write_free(loaded, data_root=run["data_root"], out=run["out"], report=run["report"])
    elif isinstance(loaded, MethodRecipe):
        from fcp.engine.train_method import train_method

        train_method(loaded, **run, store=store)
    elif isinstance(loaded, BaseLearnerRecipe):
        from fcp.engine.train_base_learner import train_base_learner

        train_base_learner(loaded, **run, store=store)
    else:
        from fcp.engine.train_head import train_head

        train_head(loaded, **run, store=store)
