"""Where published weights lie: on this machine, else fetched, else one line. Light: no torch.

The hub's client tries a connection for twenty seconds before it gives up; a machine without
internet is told at once here, and one that has the files already asks nobody.
"""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from fcp.errors import FcpError

WAIT = 2.0  # s for a first answer of the hub
_FILES = ["config.json", "*.safetensors", "*.safetensors.index.json"]


def find_folder(weights: str, cache: Path | None = None) -> Path:
    """Return the folder or file of a model's weights, fetched where it must be.

    Args:
        weights: folder in transformers' layout, Meta's own ``.pth`` file, or hub id.
        cache: the hub's cache; None for its usual place.

    Raises:
        FcpError: nothing there and no connection, a model whose licence must be accepted first, or
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
    if constants.HF_HUB_OFFLINE or not hub_answers():
        raise FcpError(
            f"{weights}: not on this machine, and the hub cannot be reached; connect once to fetch"
            " it, or give a folder with config.json and safetensors"
        )
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
    """Whether the hub, or the proxy on the way to it, takes a connection within ``WAIT``.

    In a thread, as the look-up of a name has no time limit of its own.
    """
    hub = urlsplit(constants.ENDPOINT)
    proxy = urllib.request.getproxies().get(hub.scheme)
    target = urlsplit(proxy) if proxy else hub
    answers: list[bool] = []

    def connect() -> None:
        try:
            port = target.port or (443 if target.scheme == "https" else 80)
            socket.create_connection((target.hostname or "", port), WAIT).close()
            answers.append(True)
        except OSError:
            pass

    trial = threading.Thread(target=connect, daemon=True)
    trial.start()
    trial.join(WAIT)
    return bool(answers)
