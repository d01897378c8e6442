"""A client of Label Studio's API, and the download of pictures.

The URL of a picture is not trusted: it is fetched only from Label Studio's own server and from
explicitly allowed hosts, and only the server gets the key.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlencode, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from fcp.errors import FcpError

TIMEOUT = 30  # seconds
MAX_PICTURE = 256 << 20  # bytes; the decoded picture has Pillow's own limit
MAX_ANSWER = 1 << 30
REDIRECTS = 3
PAGE = 25  # tasks; brush strokes of a large picture are a megabyte
# With "review", because otherwise Label Studio may request predictions from us before it answers,
# while we wait for its answer.
_WHAT = {"fields": "all", "resolve_uri": "false", "review": "true"}
_MOVED, _DENIED = {301, 302, 303, 307, 308}, {401, 403}
_PORTS = {"http": 80, "https": 443}


class LabelStudio:
    """A Label Studio server.

    Args:
        url: Address of its start page.
        key: Personal access token (a JWT) or legacy token; None for the one that Label Studio sends
            when the backend is connected (``adopt_key``).
        allowed: Further hosts from which pictures may be fetched, ``name`` or ``name:port``.

    Raises:
        FcpError: the address is no URL of http or https.
    """

    def __init__(self, url: str, key: str | None = None, allowed: Iterable[str] = ()) -> None:
        self.url = url.rstrip("/")
        self._origin = _origin(_split(self.url))
        self._given = key or None
        self._adopted: str | None = None
        self._access: str | None = None
        self._allowed = frozenset(host.lower() for host in allowed)
        self._opener: OpenerDirector = build_opener(_NoRedirect)
        self._lock = threading.Lock()

    @property
    def has_key(self) -> bool:
        """Whether there is a key for requests."""
        return (self._given or self._adopted) is not None

    def adopt_key(self, key: object) -> None:
        """Use the key that Label Studio sends, unless one was given to the constructor."""
        if isinstance(key, str) and key:
            self._adopted = key

    def annotated_tasks(self, project: int) -> Iterator[dict[str, Any]]:
        """Yield the tasks of a project that have annotations, last changed first.

        Raises:
            FcpError: there is no answer, or it cannot be understood.
        """
        annotated = {"filter": "filter:tasks:total_annotations", "operator": "greater"}
        condition = {**annotated, "type": "Number", "value": 0}
        query = {
            "filters": {"conjunction": "and", "items": [condition]},
            "ordering": ["-tasks:updated_at"],
        }
        page, count, total = 1, 0, 1
        while count < total:
            where = {"project": project, "page": page, "page_size": PAGE}
            asked = urlencode({**where, **_WHAT, "query": json.dumps(query)})
            answer = self._json(f"{self.url}/api/tasks?{asked}")
            tasks = answer.get("tasks")
            if not isinstance(tasks, list) or not isinstance(answer.get("total"), int):
                raise FcpError(f"{self.url}: the list of tasks is not as expected")
            yield from (task for task in tasks if isinstance(task, dict))
            page, count, total = page + 1, count + len(tasks), answer["total"] if tasks else 0

    def project(self, project: int) -> dict[str, Any]:
        """Return the data of a project, such as its ``label_config``.

        Raises:
            FcpError: there is no answer, or it cannot be understood.
        """
        return self._json(f"{self.url}/api/projects/{project}/")

    def picture(self, url: str) -> bytes:
        """Fetch a task's picture.

        Args:
            url: Path on Label Studio's server, URL there or on an allowed host, or data URI.

        Raises:
            FcpError: the host is not allowed, the picture is missing or too large, or the data URI
                is damaged.
        """
        if url[:5].lower() == "data:":
            return _data_of(url)
        target = _joined(f"{self.url}/", url)
        for _ in range(REDIRECTS):
            self._require_allowed(target)
            content, elsewhere = self._fetch(target, MAX_PICTURE)
            if elsewhere is None:
                return content
            target = _joined(target, elsewhere)
        raise FcpError(f"{_short(url)}: it is moved again and again; give the picture's own URL")

    def _json(self, url: str) -> dict[str, Any]:
        content, elsewhere = self._fetch(url, MAX_ANSWER)
        if elsewhere is not None:
            raise FcpError(f"{self.url}: it answers from {elsewhere}; give that as its URL")
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise FcpError(f"{self.url}: not an answer of Label Studio's ({error})") from error
        if not isinstance(answer, dict):
            raise FcpError(f"{self.url}: not an answer of Label Studio's")
        return answer

    def _fetch(self, url: str, limit: int) -> tuple[bytes, str | None]:
        """Fetch a URL; return its content, or the URL to which it redirects."""
        headers = self._authorization() if _origin(_split(url)) == self._origin else {}
        try:
            return self._get(url, headers, limit)
        except HTTPError as error:
            if error.code not in _DENIED or not self._drop_access(headers):
                raise _status_error(url, error) from error
            error.close()
        try:  # the access token may have expired: try again with a new one
            return self._get(url, self._authorization(), limit)
        except HTTPError as error:
            raise _status_error(url, error) from error

    def _get(self, url: str, headers: dict[str, str], limit: int) -> tuple[bytes, str | None]:
        try:
            return self._open(Request(url, headers=headers), limit), None  # noqa: S310  (_split)
        except HTTPError as error:
            elsewhere = error.headers.get("Location")
            if error.code in _MOVED and elsewhere:
                return b"", elsewhere
            raise

    def _open(self, request: Request, limit: int) -> bytes:
        where = _short(request.full_url)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                content: bytes = answer.read(limit + 1)
        except HTTPError:
            raise
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise FcpError(f"{where}: cannot be reached ({reason})") from error
        if len(content) > limit:
            raise FcpError(f"{where}: more than {limit >> 20} MiB; make it smaller")
        return content

    def _authorization(self) -> dict[str, str]:
        key = self._given or self._adopted
        if key is None:
            return {}
        if key.count(".") != 2:
            return {"Authorization": f"Token {key}"}
        # A personal access token must be exchanged for an access token, which is valid for minutes.
        with self._lock:
            if self._access is None:
                self._access = self._exchange(key)
            return {"Authorization": f"Bearer {self._access}"}

    def _drop_access(self, headers: Mapping[str, str]) -> bool:
        """Remove the access token that was refused; return False if none was used.

        A newer token of another thread stays.
        """
        used = headers.get("Authorization", "")
        if not used.startswith("Bearer "):
            return False
        with self._lock:
            if used == f"Bearer {self._access}":
                self._access = None
        return True

    def _exchange(self, refresh: str) -> str:
        body = json.dumps({"refresh": refresh}).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}/api/token/refresh/", body, headers)  # noqa: S310
        try:
            answer = json.loads(self._open(request, MAX_ANSWER))
            return str(answer["access"])
        except (HTTPError, ValueError, KeyError, TypeError) as error:
            raise FcpError(f"{self.url}: does not take the API key ({error})") from error

    def _require_allowed(self, url: str) -> None:
        parts = _split(url)
        host, port = (parts.hostname or "").lower(), _origin(parts)[2]
        if _origin(parts) != self._origin and not self._allowed & {host, f"{host}:{port}"}:
            raise FcpError(
                f"{_short(url)}: pictures are fetched from {self.url} only; "
                f"--allow-host {host} lets this host in too"
            )


class _NoRedirect(HTTPRedirectHandler):
    """A handler that follows no redirect, because the target must be checked first."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _joined(base: str, url: str) -> str:
    """Return an absolute URL; blanks and characters beyond ASCII are quoted."""
    try:
        return quote(urljoin(base, url), safe="!#$%&'()*+,/:;=?@[]~", errors="replace")
    except ValueError as error:
        raise FcpError(f"{_short(url)}: no URL ({error})") from error


def _split(url: str) -> SplitResult:
    """Split a URL, and refuse all schemes but http and https."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in _PORTS and parts.hostname and (parts.port or 1)
        good = good and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good:
        raise FcpError(f"{_short(url)}: expected a URL of http or https")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]


def _status_error(url: str, error: HTTPError) -> FcpError:
    hint = "; is the API key right (--api-key)?" if error.code in _DENIED else ""
    return FcpError(f"{_short(url)}: answers {error.code} {error.reason}{hint}")


def _data_of(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma or len(body) > MAX_PICTURE:
        raise FcpError(f"{_short(uri)}: no data URI of a picture, or one that is too large")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(unquote_to_bytes(body), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FcpError(f"{_short(uri)}: a damaged data URI ({error})") from error


def _short(url: str) -> str:
    """Return a URL for a message: shortened, and without its query, which may hold a key."""
    bare = url.partition("?")[0] if url[:5].lower() != "data:" else url.partition(",")[0]
    return bare if len(bare) <= 120 else f"{bare[:117]}…"


def project_id(project: object) -> int:
    """Return a project's number from Label Studio's forms: ``7.1700000000``, 7 or an object.

    Raises:
        FcpError: the value holds no number.
    """
    name = project.get("id") if isinstance(project, Mapping) else project
    number = str(name).partition(".")[0]
    if isinstance(name, bool) or not (number.isascii() and number.isdigit() and len(number) < 19):
        raise FcpError(f"project: expected its number, got {_short(str(name))!r}")
    return int(number)
