"""Small copies of photos and their label maps, so that a slider can redraw hundreds of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from fcp.data.decode import Decoding
from fcp.data.images import DEFAULT, label_png, read_image, read_labels
from fcp.data.photos import read_photo
from fcp.data.strips import resize_nearest
from fcp.files import write_atomically
from fcp.labelling.export import read_back
from fcp.labelling.results import PictureResult
from fcp.visualize import Colour, encode, overlay_labels, thumbnail

LONGEST = 384
VIEW = 1280  # px of a photo that is looked at alone
_PALE = 0.35  # share of itself that a photo keeps where nothing is found


class Smaller:
    """Keeps small copies in a folder, and draws them.

    Args:
        folder: which exists.
        classes: how many there are.
        decoding: of photos.
    """

    def __init__(self, folder: Path, classes: int, decoding: Decoding = DEFAULT) -> None:
        self.folder = folder
        self.classes = classes
        self.decoding = decoding

    def keep(self, record: PictureResult, run: Path) -> None:
        """Make the small copies of a photo that is done; a failed one has none."""
        labels, _ = read_back(record, run, several=self.classes > 1)
        if labels is None:
            return
        picture = Path(record.file)
        small = thumbnail(read_photo(picture, self.decoding)[0].pixels, LONGEST)
        write_atomically(self.folder / f"{picture.stem}.jpg", encode(small, "jpeg", quality=80))
        little = resize_nearest(labels, (small.shape[0], small.shape[1]))
        write_atomically(self.folder / f"{picture.stem}.png", label_png(little))

    def place(self, kind: str, stem: str, here: Collection[int]) -> Path:
        """Return the file for a drawing, in a folder for its kind and labels; makes the folder.

        A photo may have any name, even that of another one's with labels added.
        """
        folder = self.folder / "-".join([kind, *map(str, sorted(here))])
        folder.mkdir(exist_ok=True)
        return folder / f"{stem}.jpg"

    def drawn(self, stem: str, here: Collection[int], colours: Sequence[Colour]) -> Path:
        """Return the file of a small picture with these labels on it, made once; pale with none."""
        file = self.place("shown", stem, here)
        if not file.exists():
            photo = read_image(self.folder / f"{stem}.jpg")
            labels = read_labels(self.folder / f"{stem}.png")
            drawn = overlay_labels(photo, only(labels, here), colours) if here else pale(photo)
            write_atomically(file, encode(drawn, "jpeg", quality=80))
        return file


def only(labels: np.ndarray, wanted: Collection[int]) -> np.ndarray:
    """Take all other labels off a label map (H, W)."""
    return np.where(np.isin(labels, list(wanted)), labels, 0).astype(labels.dtype)


def pale(photo: np.ndarray) -> np.ndarray:
    """Make a photo (H, W, 3) grey and light: nothing here."""
    grey = photo.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return np.rint(255 - (255 - grey) * _PALE).astype(np.uint8)


def keep_small(picture: Path, file: Path, longest: int, how: Decoding) -> tuple[int, int]:
    """Write a small copy of a picture as JPEG.

    Args:
        picture: to read.
        file: to write.
        longest: px of the copy's longer side.
        how: to choose where the picture leaves a choice.

    Returns:
        (H, W) of the picture, upright.

    Raises:
        FcpError: the picture cannot be read, or the file not be written.
    """
    photo, _ = read_photo(picture, how)
    write_atomically(file, encode(thumbnail(photo.pixels, longest), "jpeg", quality=88))
    return photo.size
