"""Places of published weights: on this machine, else fetched, else one line. Light: no torch.

All that asks the hub goes through ``from_hub``: what the hub's cache has is taken without asking,
and a hub that cannot be reached is one line within seconds, where its client would try for half a
minute.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError

from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from fcp.errors import FcpError

T = TypeVar("T")

WAIT = 2.0  # s for a first answer of the hub
_GATEWAY_ERRORS = (502, 503, 504)  # of a proxy that cannot reach the hub itself
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_FILE_SUFFIXES = {".pth", ".pt", ".bin", ".safetensors"}
_FILES = ["config.json", "*.safetensors", "*.safetensors.index.json"]


def from_hub(hub_id: str, get: Callable[[bool], T]) -> T:
    """Take a model from the hub's cache, and ask the hub only for what the cache lacks.

    Args:
        hub_id: Id of the model, for the error.
        get: Function that returns it. Called with True it looks into the cache alone, and raises
            OSError where something is missing; called with False it may ask the hub.

    Raises:
        FcpError: Not in the cache, and the hub is switched off or cannot be reached.
    """
    with suppress(OSError):
        return get(True)
    require_hub(hub_id)
    return get(False)


def require_hub(hub_id: str) -> None:
    """Check that the hub can be asked; takes ``WAIT`` seconds at most.

    Raises:
        FcpError: The environment switches it off (``HF_HUB_OFFLINE``), or it cannot be reached.
    """
    if constants.HF_HUB_OFFLINE:
        raise FcpError(
            f"{hub_id}: not on this machine, and HF_HUB_OFFLINE forbids to fetch it; unset that, or"
            " give a local folder"
        )
    if not hub_answers():
        raise FcpError(
            f"{hub_id}: not on this machine, and the hub cannot be reached ({constants.ENDPOINT});"
            " connect once to fetch it, or give a local folder"
        )


def settle(weights: str) -> str:
    """Return weights of this machine by the full path of their file or folder, else as a hub id.

    Raises:
        FcpError: no such file or folder, and no hub id either.
    """
    path = Path(weights).expanduser()
    if path.exists():
        return str(path.absolute())
    if not _HUB_ID.fullmatch(weights) or path.suffix in _FILE_SUFFIXES:
        raise FcpError(f"{weights}: no such file or folder; check the path, or give a hub id")
    return weights


def is_here(weights: str) -> bool:
    """Whether weights are a file or folder of this machine, or in the hub's cache."""
    return Path(weights).expanduser().exists() or in_cache(weights)


def on_this_machine(weights: Iterable[str]) -> list[Path]:
    """Return those weights that are files or folders of this machine, as their paths."""
    paths = (Path(one).expanduser() for one in weights)
    return [path for path in paths if path.exists()]


def find_folder(weights: str, cache: Path | None = None) -> Path:
    """Return the folder or file of a model's weights, fetched where it must be.

    Args:
        weights: Folder in transformers' layout, Meta's own ``.pth`` file, or hub id.
        cache: Cache of the hub's client; None for its usual place.

    Raises:
        FcpError: Nothing there and no connection, a model whose licence must be accepted first, or
            an unknown id.
    """
    path = Path(weights).expanduser()
    if path.exists():
        return path
    found = installed_folder(weights, cache)
    if found is not None:
        return found
    if weights.count("/") != 1 or path.is_absolute():
        raise FcpError(f"{weights}: no such file or folder; check the path, or give a hub id")
    require_hub(weights)
    try:
        return Path(snapshot_download(weights, cache_dir=cache, allow_patterns=_FILES))
    except GatedRepoError as error:
        raise FcpError(
            f"{weights}: its licence must be accepted first, at {constants.ENDPOINT}/{weights};"
            " then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise FcpError(f"{weights}: the hub has no such model; check the id") from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise FcpError(f"{weights}: the hub did not give it ({reason}); try again") from error


def installed_folder(hub_id: str, cache: Path | None = None) -> Path | None:
    """Return the folder of a model in the hub's cache, if all of it is there; asks nobody."""
    try:
        folder = Path(snapshot_download(hub_id, cache_dir=cache, local_files_only=True))
    except (OSError, ValueError, HfHubHTTPError):  # no such entry, or no hub id at all
        return None
    return folder if _is_complete(folder) else None


def in_cache(hub_id: str) -> bool:
    """Whether the hub's cache has a model, or its file of weights alone; asks nobody."""
    with suppress(ValueError):  # no hub id at all
        if isinstance(try_to_load_from_cache(hub_id, "model.safetensors"), str):
            return True
    return installed_folder(hub_id) is not None


def _is_complete(folder: Path) -> bool:
    """Whether a folder has a configuration and every shard of its weights."""
    if not (folder / "config.json").is_file():
        return False
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    shards = json.loads(index.read_text("utf-8"))["weight_map"].values()
    return all((folder / shard).is_file() for shard in set(shards))


def hub_answers() -> bool:
    """Whether the hub, or a proxy in its name, answers a request within ``WAIT`` seconds.

    A connection alone would not do: some networks take any and stay silent. In a thread, as the
    look-up of a name has no time limit of its own.
    """
    answers: list[bool] = []
    trial = threading.Thread(target=lambda: answers.append(_responds()), daemon=True)
    trial.start()
    trial.join(WAIT)
    return any(answers)


def _responds() -> bool:
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310  (the hub's)
    try:
        # An opener of its own, as the common one keeps the proxies of its first use.
        urllib.request.build_opener().open(request, timeout=WAIT).close()
    except HTTPError as error:
        return error.code not in _GATEWAY_ERRORS
    except URLError as error:
        # Certificates are judged by the hub's client, which has its own.
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    except (OSError, HTTPException):
        return False
    return True
