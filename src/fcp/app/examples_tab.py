"""First step: example pictures, and the marks that show the object in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from fcp.app.corrections import correction_of
from fcp.app.marks import KINDS, PAINT_ALPHA, Marked, clean_class_name, example_on
from fcp.app.parts import PRIVATE, filled, grid, heading, named, upload_box
from fcp.app.sessions import OpenPicture, Session
from fcp.app.small import LONGEST, keep_small
from fcp.app.uploads import Upload
from fcp.app.visits import Visits, warn_of_refused
from fcp.data.images import read_size
from fcp.data.photos import read_photo
from fcp.data.prompts import annotation_mask
from fcp.errors import FcpError
from fcp.system.files import write_atomically
from fcp.visualize import RED, class_colours, encode, overlay, thumbnail

EDITOR_SIDE = 1024  # px, longer side of the picture in the editor
BRUSH = 12  # px of that picture, radius of the brush until the visitor changes it
GREY = (120, 120, 120)
KIND_CHOICES = [(words, key) for key, words in KINDS.items()]


class ExamplesTab:
    """The components of the step and their handlers.

    Args:
        visits: Access to the visitors' sessions.
    """

    def __init__(self, visits: Visits) -> None:
        self.visits = visits
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                self._lay_out_pictures()
            with gr.Column(scale=2, min_width=300):
                self._lay_out_examples()
        self._wire()

    def _lay_out_pictures(self) -> None:
        heading("Example pictures", "Upload one or more pictures, then mark the object in each.")
        self.upload = upload_box("example-upload")
        self.waiting = grid("waiting", "small", fit="cover")
        self.editor = gr.ImageEditor(
            show_label=False,
            type="numpy",
            image_mode="RGBA",
            format="png",
            sources=(),
            transforms=(),
            layers=False,
            brush=gr.Brush(
                default_size=BRUSH, colors=[(_css(RED), PAINT_ALPHA)], color_mode="fixed"
            ),
            canvas_size=(EDITOR_SIDE, EDITOR_SIDE),
            buttons=[],
            height=480,
            visible=False,
            elem_id="easel",
        )

    def _lay_out_examples(self) -> None:
        self.class_name = gr.Textbox(
            label="Class name", placeholder="cat", max_lines=1, elem_id="class-name"
        )
        self.kind = gr.Radio(KIND_CHOICES, value="paint", label="Way of marking", elem_id="kind")
        self.negative = gr.Checkbox(
            label="Negative example (looks similar, but is not the object)", elem_id="negative"
        )
        self.add = gr.Button("Add as example", variant="primary", elem_id="add-example")
        self.examples = grid("examples", "middle")
        with gr.Row(visible=False) as self.about_examples:
            self.remove = gr.Button("Remove selected", size="sm", interactive=False, min_width=100)
            self.clear = gr.Button("Remove all", size="sm", min_width=100)
        self.forth = gr.Button("Next: photos", elem_id="to-photos")

    def _wire(self) -> None:
        marking = [self.waiting, self.editor]
        listed = [self.examples, self.remove, self.about_examples]
        self.upload.upload(self.take_pictures, self.upload, [self.upload, *marking], **PRIVATE)
        self.waiting.select(self.choose_picture, None, self.editor, **PRIVATE)
        inputs = [self.editor, self.class_name, self.kind, self.negative]
        self.add.click(self.add_example, inputs, [*listed, *marking, self.negative], **PRIVATE)
        self.examples.select(self.choose_example, None, self.remove, **PRIVATE)
        self.remove.click(self.remove_example, None, listed, **PRIVATE)
        self.clear.click(self.remove_all, None, listed, **PRIVATE)

    def take_pictures(self, files: list[str] | None, request: gr.Request) -> tuple[Any, ...]:
        """Store uploads, and open the first of them in the editor."""
        with self.visits.visit(request, alone=True) as session:
            taken = session.examples_in.take(named(files))
            whole = [picture for picture in taken.pictures if _is_whole(session, picture, taken)]
            warn_of_refused(taken.refused)
            session.to_mark += whole
            shown = open_in_editor(session, whole[0]) if whole else gr.skip()
            return None, _waiting(session), shown

    def choose_picture(self, event: gr.SelectData, request: gr.Request) -> Any:  # noqa: ANN401
        """Open the clicked picture in the editor."""
        with self.visits.visit(request) as session:
            if not 0 <= int(event.index) < len(session.to_mark):
                raise FcpError("this picture was removed; upload it again")
            return open_in_editor(session, session.to_mark[int(event.index)])

    def add_example(
        self,
        drawing: dict[str, Any] | None,
        class_name: str,
        kind: str,
        negative: bool,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        """Make an example of the drawing, and open the next picture in the editor."""
        with self.visits.visit(request, alone=True) as session:
            open_picture = session.open_picture
            if open_picture is None:
                raise FcpError("upload a picture that shows the object, then mark it")
            name = None if negative else clean_class_name(class_name or "")
            layers = (drawing or {}).get("layers") or []
            picture, correction = open_picture.picture, open_picture.correction
            example = example_on(picture, layers, kind, open_picture.size, correction)
            number = max((one.number for one in session.marked), default=0) + 1
            shown = session.folder / f"marked{session.number()}.jpg"
            called = session.originals.get(picture, picture.name)
            corrects = correction is not None
            marked = Marked(number, name, kind, example, shown, called, corrects)
            _draw_small(session, marked)  # first: if it fails, no example is added
            session.marked.append(marked)
            session.chosen_example = None
            following = _next_picture(session, open_picture)
            editor = open_in_editor(session, following) if following else _clear(session)
            return *_listed(session), _waiting(session), editor, False

    def choose_example(self, event: gr.SelectData, request: gr.Request) -> Any:  # noqa: ANN401
        """Remember which example was clicked."""
        with self.visits.visit(request) as session:
            session.chosen_example = int(event.index)
            return gr.update(interactive=True)

    def remove_example(self, request: gr.Request) -> tuple[Any, ...]:
        """Remove the selected example."""
        with self.visits.visit(request, alone=True) as session:
            index = session.chosen_example
            if index is None or index >= len(session.marked):
                raise FcpError("select an example first")
            del session.marked[index]
            session.chosen_example = None
            return _listed(session)

    def remove_all(self, request: gr.Request) -> tuple[Any, ...]:
        """Remove all examples."""
        with self.visits.visit(request, alone=True) as session:
            session.marked.clear()
            session.chosen_example = None
            return _listed(session)


def open_in_editor(session: Session, picture: Path, mask: np.ndarray | None = None) -> Any:  # noqa: ANN401
    """Open a picture in the editor.

    Args:
        session: Session of the visitor.
        picture: File of the picture.
        mask: Initial painting, (H, W) bool; None for an empty one.

    Returns:
        The update of the editor.

    Raises:
        FcpError: the picture cannot be read.
    """
    file = session.folder / f"editor{session.number()}.jpg"
    size = keep_small(picture, file, EDITOR_SIDE, session.decoding)
    height, width = read_size(file)
    layers = []
    correction = None if mask is None else correction_of(mask, (height, width))
    if correction is not None:
        paint = np.zeros((height, width, 4), np.uint8)
        paint[correction.painting] = (*RED, round(255 * PAINT_ALPHA))
        layer = file.with_suffix(".png")
        write_atomically(layer, encode(paint, "png"))
        layers = [str(layer)]
    session.open_picture = OpenPicture(picture, size, correction)
    value = {"background": str(file), "layers": layers, "composite": None}
    # If canvas and picture differ in size, a new editor misplaces the layers.
    return gr.update(value=value, canvas_size=(width, height), visible=True)


def _clear(session: Session) -> Any:  # noqa: ANN401
    session.open_picture = None
    return gr.update(value=None, visible=False)


def _next_picture(session: Session, open_picture: OpenPicture) -> Path | None:
    """Return the next uploaded picture without an example, or None."""
    done = {one.example.picture for one in session.marked}
    return next((p for p in session.to_mark if p not in done and p != open_picture.picture), None)


def _is_whole(session: Session, picture: Path, taken: Upload) -> bool:
    """Make the small copy of a new picture; refuse the picture if it cannot be decoded."""
    try:
        keep_small(picture, _small_copy(session, picture), LONGEST // 2, session.decoding)
    except FcpError as error:
        taken.refused.append(session.public_text(error))
        session.examples_in.forget(picture)
        return False
    return True


def _small_copy(session: Session, picture: Path) -> Path:
    return session.folder / f"waiting-{picture.stem}.jpg"


def _waiting(session: Session) -> Any:  # noqa: ANN401
    """Return the update that shows the pictures to mark, if there are several."""
    small = [str(_small_copy(session, picture)) for picture in session.to_mark]
    return filled(small if len(small) > 1 else [])


def _draw_small(session: Session, marked: Marked) -> None:
    """Draw an example with its mask in the colour of its class."""
    photo, _ = read_photo(marked.example.picture, session.decoding)
    mask = photo.under(annotation_mask(marked.example.annotation, photo.size))
    everything = [*session.marked, marked]
    names = dict.fromkeys(one.class_name for one in everything if one.class_name)
    colour = class_colours(names).get(marked.class_name or "", GREY)
    drawn = thumbnail(overlay(photo.pixels, mask, colour=colour), LONGEST)
    write_atomically(marked.shown, encode(drawn, "jpeg", quality=85))


def _listed(session: Session) -> tuple[Any, ...]:
    shown = [(str(one.shown), f"{one.number} · {one.caption}") for one in session.marked]
    return filled(shown), gr.update(interactive=False), gr.update(visible=bool(shown))


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb({colour[0]}, {colour[1]}, {colour[2]})"
