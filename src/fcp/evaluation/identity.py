"""What a protocol card identifies a model by, beside the hash of its own weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fcp.method.names import is_free
from fcp.models.checkpoint import read_config
from fcp.models.files import CONFIG_FILE
from fcp.models.free import hash_weights, local_parts, own_encoders, read_free
from fcp.models.loading import weights_elsewhere
from fcp.models.settings import FREE_FORMAT, TRAINED_FORMAT, format_of
from fcp.models.trained import read_trained
from fcp.system.files import sha256_of

NO_CONFIG = "none: a method by its name"
OWN_SIZE = "the method's own"
NO_LOCAL = "none: no encoder is named by a folder or file"


@dataclass(frozen=True)
class Identity:
    """Settings and encoders of a model; two models that differ in them are two models.

    Attributes:
        config_sha256: Hash of the settings file of the model's folder.
        image_size: Side of the square pictures that the model takes, px; or ``OWN_SIZE``.
        encoders_sha256: Hash of each encoder that the model reads from another folder or file.
    """

    config_sha256: str
    image_size: int | str
    encoders_sha256: str


def identify(model: Path | str) -> Identity:
    """Identify a model, without loading its weights.

    Args:
        model: Folder of a model of any format, or name of a method without training.

    Raises:
        FcpError: damaged settings, or weights that cannot be read.
    """
    named = isinstance(model, str) and is_free(model)
    config = NO_CONFIG if named else sha256_of(Path(model) / CONFIG_FILE)
    return Identity(config, _size_of(model), _hash_encoders(local_encoders(model)))


def local_encoders(model: Path | str) -> list[Path]:
    """List the folders and files outside a model's folder that it reads encoders from.

    Raises:
        FcpError: damaged settings.
    """
    if format_of(model) == FREE_FORMAT:
        return local_parts(read_free(model)[0])
    return weights_elsewhere(Path(model))


def _size_of(model: Path | str) -> int | str:
    kind = format_of(model)
    if kind == TRAINED_FORMAT:
        return read_trained(Path(model)).image_size
    if kind != FREE_FORMAT:
        return read_config(Path(model) / CONFIG_FILE).image_size
    own = own_encoders(model)
    size = read_free(model)[1].get("image_size")
    return size or (OWN_SIZE if own is None else own.image_size)


def _hash_encoders(places: list[Path]) -> str:
    digests = (hashlib.sha256(hash_weights(place).encode()).hexdigest() for place in places)
    return ", ".join(digests) or NO_LOCAL
