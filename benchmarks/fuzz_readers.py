"""Small valid inputs of every reader, and how each is read: what ``fuzz.py`` damages.

Here are records, models, pictures and archives; annotations are in ``fuzz_annotations.py``.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from fuzz_annotations import ANNOTATIONS, Reader, pixels, png, ring, write
from PIL import Image
from safetensors.torch import save_file

from fcp.app.limits import Budget, Limits
from fcp.app.uploads import Intake
from fcp.config import BackboneConfig, HeadConfig, ModelConfig, SegmenterConfig
from fcp.data.archives import walk
from fcp.data.episodes import EpisodeSpec, load_episodes, save_episodes
from fcp.data.images import read_image, read_label_picture, read_mask, read_size
from fcp.encoders import build_backbone, build_segmenter
from fcp.encoders.weights import read_state_dict
from fcp.engine.recipe import load_recipe
from fcp.errors import FcpError
from fcp.inference.presence import FEATURES, Presence, load_presence
from fcp.labelling.photo_results import ClassResult, ObjectResult, PictureResult
from fcp.labelling.results import UNFINISHED, ExampleResult, Results, read_record
from fcp.method.fcp.model import FCP
from fcp.models.checkpoint import load_model, save_model
from fcp.models.files import PRESENCE_FILE

LEVELS = (3, 4)


def _results(*damaged: str) -> Callable[[Path], Sequence[Path]]:
    def make(folder: Path) -> Sequence[Path]:
        cat = ClassResult(0.5, 0.1, 60, 0.9, [ObjectResult([1, 2, 3, 4], 0.5, "04")])
        record = PictureResult("a.png", "0" * 64, 0.1, "masks/a.png", None, {"cat": cat})
        files = ("results.json", "masks/a.png")
        results = Results(folder, model="small", fingerprint="0", question={"k": 1}, files=files)
        results.examples = {"cat": [ExampleResult("b.png", 0.5, False, 0.2)]}
        results.add([record])
        lines = (folder / UNFINISHED).read_bytes()
        results.save()
        (folder / UNFINISHED).write_bytes(lines)
        return [folder / one for one in damaged]

    return make


def _presence(folder: Path) -> Sequence[Path]:
    weights = torch.linspace(-1, 1, FEATURES * len(LEVELS) + 1)
    centres = torch.zeros(2, sum(LEVELS))
    Presence(LEVELS, centres, weights, 0.1, 0.5, {"fitted": "here"}).save(folder)
    return [folder / PRESENCE_FILE]


def _config(folder: Path) -> Sequence[Path]:
    torch.manual_seed(0)
    options = {"width": 16, "image_size": 64, "decoder_width": 16}
    config = ModelConfig(
        head=HeadConfig(width=16, tokens=3),
        backbone=BackboneConfig(name="mobilenet_v2"),
        segmenter=SegmenterConfig(name="tiny", options=options),
        image_size=64,
    )
    encoders = build_backbone(config.backbone), build_segmenter(config.segmenter)
    save_model(FCP(config, *encoders), folder)
    return [folder / "config.json"]


def _weights(folder: Path) -> Sequence[Path]:
    state = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.zeros(3)}
    save_file(state, folder / "a.safetensors")
    torch.save({"state_dict": state}, folder / "b.pt")
    torch.save(state, folder / "c.pth", _use_new_zipfile_serialization=False)
    return [folder / name for name in ("a.safetensors", "b.pt", "c.pth")]


def _read_weights(folder: Path) -> None:
    _each(sorted(folder.iterdir()), read_state_dict)


def _episodes(folder: Path) -> Sequence[Path]:
    frozen = folder / "episodes.json"
    save_episodes(frozen, (EpisodeSpec("a", ("b", "c"), 1), EpisodeSpec("b", ("a", "c"), 2)))
    plain = [["x/a.jpg", ["b", "c.png"], "cat"], ["b", ["a", "c"], 1]]
    return [frozen, write(folder / "plain.json", plain)]


def _read_episodes(folder: Path) -> None:
    data = SimpleNamespace(
        ids=lambda _: ("a", "b", "c"),
        classes={1: "cat", 2: "dog"},
        pixels=lambda _: {1: 5, 2: 5},
        title="the toy set",
    )
    _each(sorted(folder.iterdir()), lambda file: load_episodes(file, data))


def _recipes(folder: Path) -> Sequence[Path]:
    shipped = resources.files("fcp").joinpath("recipes")
    names = ("tiny.yaml", "tiny-promptable.yaml")
    present = [one for one in shipped.iterdir() if one.name in names]
    chosen = present or [one for one in shipped.iterdir() if one.name.endswith(".yaml")][:2]
    return [write(folder / one.name, one.read_text(encoding="utf-8")) for one in chosen]


def _photos(folder: Path) -> Sequence[Path]:
    colours, grey = Image.fromarray(pixels(3)), Image.fromarray(pixels())
    turned = Image.Exif()
    turned[0x0112] = 6
    colours.save(folder / "a.jpg", exif=turned)
    colours.save(folder / "b.webp")
    grey.save(folder / "c.gif", save_all=True, append_images=[grey.rotate(90)])
    colours.save(folder / "d.tif", compression="tiff_lzw")
    deep = Image.fromarray(pixels().astype(np.uint16) * 16)
    deep.save(folder / "e.tif", save_all=True, append_images=[deep])
    colours.save(folder / "f.bmp")
    grey.save(folder / "g.jp2")
    return sorted(folder.iterdir())


def _pngs(folder: Path) -> Sequence[Path]:
    grey = Image.fromarray(pixels())
    grey.save(folder / "a.png")
    grey.convert("P").save(folder / "b.png", transparency=3)
    Image.fromarray(pixels().astype(np.uint16) * 16).save(folder / "c.png")
    Image.fromarray(ring()).save(folder / "d.png")
    Image.fromarray(pixels(4)).save(folder / "e.png", save_all=True, append_images=[grey])
    return sorted(folder.iterdir())


def _read_pictures(folder: Path) -> None:
    def read(path: Path) -> None:
        image = read_image(path)
        with suppress(FcpError):  # a photo is refused as a mask, damaged or not
            read_mask(path, image.shape[:2])
        if path.suffix in (".png", ".gif", ".tif"):
            read_label_picture(path)
        read_size(path)

    _each(sorted(folder.iterdir()), read)


def _archives(folder: Path) -> Sequence[Path]:
    content = {"images/a.png": png(pixels(3)), "notes.txt": b"hello" * 100}
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in content.items():
            archive.writestr(name, one)
    for name, mode in (("b.tar", "w"), ("c.tgz", "w:gz")):
        with tarfile.open(folder / name, mode) as tar:
            for path, one in content.items():
                info = tarfile.TarInfo(path)
                info.size = len(one)
                tar.addfile(info, io.BytesIO(one))
    return sorted(folder.iterdir())


def _read_archives(folder: Path) -> None:
    def read(path: Path) -> None:
        for member in walk(path):
            for _ in member.pieces():
                pass

    _each(sorted(folder.iterdir()), read)


def _uploads(folder: Path) -> Sequence[Path]:
    return [next(path for path in _archives(folder) if path.suffix == ".zip")]


def _read_uploads(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place, "a.zip")
        copy.write_bytes((folder / "a.zip").read_bytes())
        taken = Intake(Path(place, "taken"), Budget(Limits(total_bytes=100 * 10**6))).take([copy])
        for picture in taken.pictures:
            _each([picture], read_image)


def _each(files: Sequence[Path], read: Callable[[Path], object]) -> None:
    """Read all files; the first error is raised after the last file."""
    first: Exception | None = None
    for file in files:
        try:
            read(file)
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


READERS: dict[str, Reader] = {
    **ANNOTATIONS,
    "results.json": Reader("json", _results("results.json"), read_record),
    "result-lines": Reader("text", _results(UNFINISHED), read_record),
    "presence.json": Reader("json", _presence, lambda folder: load_presence(folder, LEVELS)),
    "config.json": Reader("json", _config, load_model),
    "weights": Reader("bytes", _weights, _read_weights),
    "episodes": Reader("json", _episodes, _read_episodes),
    "recipes": Reader(
        "yaml", _recipes, lambda folder: _each(sorted(folder.iterdir()), load_recipe)
    ),
    "photos": Reader("bytes", _photos, _read_pictures),
    "pngs": Reader("png", _pngs, _read_pictures),
    "archives": Reader("bytes", _archives, _read_archives, 300 << 20),
    "uploads": Reader("bytes", _uploads, _read_uploads, 300 << 20),
}
