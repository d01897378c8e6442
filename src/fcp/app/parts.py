"""Components that all steps of the page share, and the style of the page."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from fcp.system.files import PICTURE_SUFFIXES

# The system's own fonts: nothing is fetched from anywhere.
FONTS = ["system-ui", "sans-serif"]
MONO = ["ui-monospace", "monospace"]
# Arguments of every handler: no endpoint in the API, and no overlay while it works.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

# Galleries take as many columns as fit, and scroll with the page instead of in a window of their
# own; captions are shown in full, below their pictures.
CSS = """
.gradio-container {max-width: 1200px !important; margin: 0 auto !important}
#intro h1 {margin: 0}
#intro p {margin: .25rem 0 0}
.heading h2 {font-size: 1rem; font-weight: 600; margin: .25rem 0 0}
.heading p {margin: 0; color: var(--body-text-color-subdued)}
#progress progress {accent-color: var(--primary-600); height: 1.1rem}
#facts table {width: 100%; border-collapse: collapse; border: 0 !important}
#facts tr, #facts thead, #facts tbody {border: 0 !important}
#facts th, #facts td {border: 0 !important; text-align: left; padding: .25rem .5rem .25rem 0}
.grid .grid-wrap {max-height: none; min-height: 0; height: auto; overflow: visible}
.grid .grid-container {grid-template-rows: none; grid-auto-rows: auto;
  grid-template-columns: repeat(auto-fill, minmax(var(--cell), 1fr)) !important}
.grid .grid-container .thumbnail-item {aspect-ratio: auto; height: auto; display: flex;
  flex-direction: column}
.grid .grid-container .thumbnail-item > img {aspect-ratio: 1; height: auto}
.grid .grid-container .caption-label {position: static; width: 100%; max-width: none; border: 0;
  font-size: .8rem; white-space: normal; overflow-wrap: anywhere}
.grid.small {--cell: 100px}
.grid.middle {--cell: 140px}
.grid.large {--cell: 230px}
.grid.pairs .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important}
@media (max-width: 640px) {
  .gradio-container {padding: 8px !important}
  .grid.large {--cell: 140px}
  .grid.small {--cell: 72px}
  .grid.pairs .grid-container {grid-template-columns: repeat(2, minmax(0, 1fr)) !important}
}
"""


def style() -> dict[str, Any]:
    """Return the arguments of ``launch`` for theme and CSS."""
    return {"theme": gr.themes.Soft(font=FONTS, font_mono=MONO), "css": CSS}


def heading(title: str, text: str = "") -> None:
    """Add a heading, and a line of help below it."""
    more = f"<p>{text}</p>" if text else ""
    gr.HTML(f"<h2>{title}</h2>{more}", elem_classes="heading")


def upload_box(elem_id: str) -> gr.File:
    """Add an upload field for pictures and zip archives of pictures."""
    box = gr.File(
        show_label=False,
        file_count="multiple",
        file_types=[*sorted(PICTURE_SUFFIXES), ".zip"],
        height=130,
        elem_id=elem_id,
    )
    keep_names(box)
    return box


def keep_names(box: gr.File | gr.UploadButton) -> None:
    """Give the handlers of an upload field the visitor's names of the files, as ``orig_name``.

    Gradio passes paths of its own, with changed names. (For a subclass, Gradio would write a file
    beside this one.)
    """
    hand_over = box.preprocess

    def with_names(payload: Any) -> Any:  # noqa: ANN401  (Gradio's several forms)
        files = hand_over(payload)
        for file, sent in zip(files or [], payload or [], strict=True):
            file.orig_name = sent.orig_name  # type: ignore[attr-defined]
        return files

    box.preprocess = with_names  # type: ignore[method-assign]


def named(files: Sequence[str] | None) -> dict[Path, str]:
    """Return uploaded file → the visitor's name for it.

    Equal files of one name, as of two folders, are one file of Gradio's: each other is a copy.
    """
    found: dict[Path, str] = {}
    for file in files or []:
        path = Path(file)
        while path in found:
            path = path.with_name(f"again-{path.name}")
        if path.name != Path(file).name:
            shutil.copyfile(file, path)
        found[path] = getattr(file, "orig_name", None) or Path(file).name
    return found


def grid(
    elem_id: str,
    size: Literal["small", "middle", "large", "pairs"],
    *,
    fit: Literal["contain", "cover"] = "contain",
    preview: bool = False,
) -> gr.Gallery:
    """Add a gallery, which is hidden until ``filled`` gives it pictures.

    Args:
        elem_id: HTML id of the gallery.
        size: Size of the pictures; "pairs" puts them in rows of two pairs.
        fit: "contain" to show whole pictures, "cover" to fill their squares.
        preview: Whether a click enlarges a picture.
    """
    return gr.Gallery(
        show_label=False,
        columns=2 if size == "pairs" else 4,
        fit_columns=False,
        height="auto",
        allow_preview=preview,
        object_fit=fit,
        interactive=False,
        buttons=["fullscreen"] if preview else [],
        visible=False,
        elem_id=elem_id,
        elem_classes=["grid", size],
    )


def filled(pictures: list[tuple[str, str]] | list[str]) -> Any:  # noqa: ANN401  (an update)
    """Return the update of a gallery that shows these pictures, none of them selected."""
    return gr.update(value=pictures, visible=bool(pictures), selected_index=None)
