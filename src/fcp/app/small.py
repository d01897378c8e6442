"""Small copies of photos and label maps, so that the slider can redraw hundreds of photos."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from fcp.data.decode import Decoding
from fcp.data.images import DEFAULT, label_png, read_image, read_labels
from fcp.data.photos import read_photo
from fcp.data.strips import resize_nearest
from fcp.labelling.export import read_back
from fcp.labelling.photo_results import PictureResult
from fcp.system.files import write_atomically
from fcp.visualize import Colour, encode, overlay_labels, thumbnail

LONGEST = 384
VIEW = 1280  # px, longer side of the photo in the detail view
_PALE = 0.35  # share of its contrast that a photo keeps where nothing is found


class Smaller:
    """A folder of small copies, and drawings of them.

    Args:
        folder: Existing folder.
        classes: Number of classes.
        decoding: Options for reading photos.
    """

    def __init__(self, folder: Path, classes: int, decoding: Decoding = DEFAULT) -> None:
        self.folder = folder
        self.classes = classes
        self.decoding = decoding

    def keep(self, record: PictureResult, run: Path) -> None:
        """Make the small copies of a segmented photo; do nothing for a failed one."""
        labels, _ = read_back(record, run, several=self.classes > 1)
        if labels is None:
            return
        picture = Path(record.file)
        small = thumbnail(read_photo(picture, self.decoding)[0].pixels, LONGEST)
        write_atomically(self.folder / f"{picture.stem}.jpg", encode(small, "jpeg", quality=80))
        little = resize_nearest(labels, (small.shape[0], small.shape[1]))
        write_atomically(self.folder / f"{picture.stem}.png", label_png(little))

    def place(self, kind: str, stem: str, here: Collection[int]) -> Path:
        """Return the file for a drawing, in a folder for its kind and labels; create the folder.

        Labels in the file name could make the names of two photos collide.
        """
        folder = self.folder / "-".join([kind, *map(str, sorted(here))])
        folder.mkdir(exist_ok=True)
        return folder / f"{stem}.jpg"

    def drawn(self, stem: str, here: Collection[int], colours: Sequence[Colour]) -> Path:
        """Return a small drawing of a photo with these labels, or pale without labels.

        Each drawing is made once.
        """
        file = self.place("shown", stem, here)
        if not file.exists():
            photo = read_image(self.folder / f"{stem}.jpg")
            labels = read_labels(self.folder / f"{stem}.png")
            drawn = overlay_labels(photo, only(labels, here), colours) if here else pale(photo)
            write_atomically(file, encode(drawn, "jpeg", quality=80))
        return file


def only(labels: np.ndarray, wanted: Collection[int]) -> np.ndarray:
    """Set all other labels of a label map (H, W) to 0."""
    return np.where(np.isin(labels, list(wanted)), labels, 0).astype(labels.dtype)


def pale(photo: np.ndarray) -> np.ndarray:
    """Make a photo (H, W, 3) grey and light, as a sign that nothing was found."""
    grey = photo.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return np.rint(255 - (255 - grey) * _PALE).astype(np.uint8)


def keep_small(picture: Path, file: Path, longest: int, how: Decoding) -> tuple[int, int]:
    """Write a small copy of a picture as JPEG.

    Args:
        picture: File to read.
        file: File to write.
        longest: Longer side of the copy in px.
        how: Options for reading the picture.

    Returns:
        (H, W) of the upright picture in px.

    Raises:
        FcpError: the picture cannot be read, or the file cannot be written.
    """
    photo, _ = read_photo(picture, how)
    write_atomically(file, encode(thumbnail(photo.pixels, longest), "jpeg", quality=88))
    return photo.size
