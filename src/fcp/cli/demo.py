"""``fcp demo``: sample photos of installed packages, segmented from our own examples."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fcp.cli.demo_page import SceneResult, group_scenes, make_page, make_strip
from fcp.cli.options import DEFAULT_MODEL, DeviceOption, ModelOption, settle_model
from fcp.cli.progress import progress_bar
from fcp.errors import FcpError
from fcp.system.documents import load_json

if TYPE_CHECKING:
    import numpy as np

    from fcp.inference.segmenter import FewShotSegmenter


@dataclass(frozen=True)
class DemoView:
    """A photo, or a part of it.

    Attributes:
        photo: Key of ``photos`` in ``scenes.json``.
        crop: Part of the photo as x0, y0, x1, y1 in px; None for the whole photo.
        mirror: Whether to swap left and right, after cropping.
    """

    photo: str
    crop: tuple[int, int, int, int] | None = None
    mirror: bool = False

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Return this view of a picture or mask (H, W, …)."""
        if self.crop is not None:
            x0, y0, x1, y1 = self.crop
            pixels = pixels[y0:y1, x0:x1]
        return pixels[:, ::-1] if self.mirror else pixels


def demo(
    *,
    out: Annotated[
        Path, typer.Option(help="Output folder for demo.html and demo.png.", metavar="DIR")
    ] = Path("demo"),
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "auto",
) -> None:
    """Segment sample pictures and show the results on one page.

    The samples show classes of our training, novel classes, and pictures that are not photos;
    results are compared with our own masks.

    Writes demo.html (examples, photos, pseudo masks and results; it needs no other file) and
    demo.png (a strip of some scenes), and prints the path of the page.

    \b
    Examples:
      fcp demo
      fcp demo --model runs/tiny --out page
    """  # noqa: D301  (\b keeps the lines)
    from fcp.inference.segmenter import FewShotSegmenter
    from fcp.system.files import write_atomically

    content = load_json(demo_file("scenes.json"))
    _refuse_foreign(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{out}: cannot be written ({error.strerror}); choose another --out"
        raise FcpError(message) from error
    photos = {name: demo_photo(**photo) for name, photo in content["photos"].items()}
    model = settle_model(model, device)
    segmenter = FewShotSegmenter.from_pretrained(model, device=device)
    with progress_bar("scene") as bar:
        results = [
            _run_scene(segmenter, scene, photos)
            for scene in bar.track(content["scenes"], description="segmenting")
        ]
    credits = dict.fromkeys(photo["credit"] for photo in content["photos"].values())
    template = demo_file("page.html").read_text(encoding="utf-8")
    facts = {"model": model, "device": str(segmenter.device), "credits": "; ".join(credits)}
    page = make_page(template, group_scenes(content["groups"], results), facts)
    write_atomically(out / "demo.html", page.encode())
    write_atomically(out / "demo.png", make_strip(results))
    typer.echo(f"open {(out / 'demo.html').resolve()}")


def _refuse_foreign(out: Path) -> None:
    """Refuse to overwrite files of these names that no demo has written.

    Raises:
        FcpError: there is such a file.
    """
    page = out / "demo.html"
    if page.is_file() and b"<title>fcp demo</title>" in page.read_bytes()[:1000]:
        return
    for file in (page, out / "demo.png"):
        if file.exists():
            raise FcpError(f"{file}: is no file of fcp demo; choose another --out")


def _run_scene(
    segmenter: FewShotSegmenter, scene: dict[str, Any], photos: dict[str, np.ndarray]
) -> SceneResult:
    views = [DemoView(**support) for support in scene["supports"]]
    examples = [
        (view.of(photos[view.photo]), view.of(demo_mask(view.photo, photos[view.photo])))
        for view in views
    ]
    question = DemoView(**scene["query"])
    query = question.of(photos[question.photo])
    segmenter.fit(examples)
    started = time.perf_counter()
    prediction = segmenter.predict(query)
    seconds = time.perf_counter() - started
    return SceneResult(
        title=scene["title"],
        group=scene["group"],
        note=scene["note"],
        in_strip=scene["in_strip"],
        examples=examples,
        query=query,
        truth=_truth(question, photos[question.photo]),
        prediction=prediction,
        seconds=seconds,
    )


def demo_photo(package: str, file: str, credit: str) -> np.ndarray:
    """Read a sample photo of an installed package; the credit is for the page."""
    from fcp.data.images import read_image

    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise FcpError(
            f"{package}: its sample photos are needed here; pip install '.[demo]' in the checkout"
        )
    return read_image(Path(folders[0]) / file)


def demo_mask(photo: str, pixels: np.ndarray) -> np.ndarray:
    """Read our mask (H, W) of a photo (H, W, 3)."""
    from fcp.data.images import read_mask

    return read_mask(demo_file(f"masks/{photo}.png"), (pixels.shape[0], pixels.shape[1]))


def _truth(view: DemoView, pixels: np.ndarray) -> np.ndarray | None:
    """Return our mask (H, W) of a view, or None if there is none."""
    drawn = demo_file(f"masks/{view.photo}.png").exists()
    return view.of(demo_mask(view.photo, pixels)) if drawn else None


def demo_file(name: str) -> Path:
    """Return a file of the demo that the package carries."""
    return Path(str(files("fcp") / "demo" / name))
