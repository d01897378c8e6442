"""`fcp train` for the methods without training: encoders in, a method's folder out."""

from __future__ import annotations

from pathlib import Path

import torch

from fcp.engine.method_recipe import FreeRecipe
from fcp.engine.processes import is_main
from fcp.engine.tracking import Report, record_recipe
from fcp.engine.train_head import require_novel, standardise, starting_encoders
from fcp.method.names import FreeName
from fcp.method.registry import build_on
from fcp.models.free_on_own import save_on_own


def write_free(recipe: FreeRecipe, *, data_root: Path, out: Path, report: Report) -> None:
    """Write the folder of a method on the recipe's encoders; nothing is trained.

    Args:
        recipe: Recipe of the method.
        data_root: Folder of the data sets, for the statistics of a backbone that standardises.
        out: Folder of the recipe and the model.
        report: Function that takes each line of output.

    Raises:
        FcpError: an unknown method or option, weights that are missing or do not fit, or a
            segmenter that was shown the fold's novel classes.
    """
    require_novel(recipe)
    size = recipe.encoders.image_size
    backbone, segmenter = starting_encoders(
        recipe.encoders, recipe.backbone_weights, recipe.segmenter_folder
    )
    method = build_on(recipe.method, backbone, segmenter, image_size=size, **recipe.options)
    standardise(backbone, size, data_root)
    record_recipe(out, recipe)
    if is_main():
        name = FreeName(recipe.method, None, None)
        dtype = getattr(torch, recipe.weights_dtype)
        save_on_own(method, name, recipe.options, recipe.encoders, out, dtype=dtype)
    report(f"nothing to train: {recipe.method} written to {out}")
