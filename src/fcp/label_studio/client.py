"""Label Studio's API as far as it is needed, and the pictures of tasks.

A task's picture is whatever its author typed: it is fetched from Label Studio's own server and from
hosts that were allowed by name, nowhere else, and nobody else gets the key.
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
MAX_PICTURE = 256 << 20  # bytes; what Pillow makes of it has the library's own limit
MAX_ANSWER = 1 << 30
REDIRECTS = 3
PAGE = 25  # tasks; brush strokes of a large picture are a megabyte
# As for a review: otherwise a project that shows predictions at once would have Label Studio ask us
# for them before it answers, while we wait for its answer.
_WHAT = {"fields": "all", "resolve_uri": "false", "review": "true"}
_MOVED, _DENIED = {301, 302, 303, 307, 308}, {401, 403}
_PORTS = {"http": 80, "https": 443}


class LabelStudio:
    """A Label Studio server.

    Args:
        url: URL of its start page.
        key: personal access token (a JWT) or legacy token; None takes the one that Label Studio
            itself hands out when the backend is connected (``adopt_key``).
        allowed: further hosts whose pictures may be fetched, ``name`` or ``name:port``.

    Raises:
        FcpError: no URL of HTTP.
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
        """Whether there is a key to ask with."""
        return (self._given or self._adopted) is not None

    def adopt_key(self, key: object) -> None:
        """Take the key that Label Studio hands out; one that was given here goes first."""
        if isinstance(key, str) and key:
            self._adopted = key

    def annotated_tasks(self, project: int) -> Iterator[dict[str, Any]]:
        """Yield the tasks of a project that have annotations, the latest changed first.

        Raises:
            FcpError: no answer, or none that can be understood.
        """
        annotated = {"filter": "filter:tasks:total_annotations", "operator": "greater"}
        condition = {**annotated, "type": "Number", "value": 0}
        query = {
            "filters": {"conjunction": "and", "items": [condition]},
            "ordering": ["-tasks:updated_at"],
        }
        page, seen, total = 1, 0, 1
        while seen < total:
            where = {"project": project, "page": page, "page_size": PAGE}
            asked = urlencode({**where, **_WHAT, "query": json.dumps(query)})
            answer = self._json(f"{self.url}/api/tasks?{asked}")
            tasks = answer.get("tasks")
            if not isinstance(tasks, list) or not isinstance(answer.get("total"), int):
                raise FcpError(f"{self.url}: the list of tasks is not as expected")
            yield from (task for task in tasks if isinstance(task, dict))
            page, seen, total = page + 1, seen + len(tasks), answer["total"] if tasks else 0

    def project(self, project: int) -> dict[str, Any]:
        """Return what Label Studio knows of a project; its ``label_config`` is what counts.

        Raises:
            FcpError: no answer, or none that can be understood.
        """
        return self._json(f"{self.url}/api/projects/{project}/")

    def picture(self, url: str) -> bytes:
        """Fetch a task's picture.

        Args:
            url: a path on Label Studio's server, a URL there or on an allowed host, or a data URI.

        Raises:
            FcpError: another host, a picture that is missing or too large, or a broken data URI.
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
        """Get a URL: its content, or where it has moved to."""
        headers = self._authorization() if _origin(_split(url)) == self._origin else {}
        try:
            return self._get(url, headers, limit)
        except HTTPError as error:
            if error.code not in _DENIED or not self._drop_access(headers):
                raise _told(url, error) from error
            error.close()
        try:  # the access token's time may have been over: once more, with a fresh one
            return self._get(url, self._authorization(), limit)
        except HTTPError as error:
            raise _told(url, error) from error

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
        # A personal access token is no key itself: it is changed for one that holds for minutes.
        with self._lock:
            if self._access is None:
                self._access = self._exchange(key)
            return {"Authorization": f"Bearer {self._access}"}

    def _drop_access(self, headers: Mapping[str, str]) -> bool:
        """Forget the access token that was refused; False where none was used.

        One that another thread has got meanwhile stays.
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
    """Follows nothing by itself: where it goes must be allowed first."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _joined(base: str, url: str) -> str:
    """Make a URL absolute; blanks and letters beyond ASCII, which people type, are quoted."""
    try:
        return quote(urljoin(base, url), safe="!#$%&'()*+,/:;=?@[]~", errors="replace")
    except ValueError as error:
        raise FcpError(f"{_short(url)}: no URL ({error})") from error


def _split(url: str) -> SplitResult:
    """Take a URL of HTTP apart; no other scheme goes further than this."""
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


def _told(url: str, error: HTTPError) -> FcpError:
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
    """Shorten a URL for a message, without its query, which may hold a key."""
    bare = url.partition("?")[0] if url[:5].lower() != "data:" else url.partition(",")[0]
    return bare if len(bare) <= 120 else f"{bare[:117]}…"


def project_id(project: object) -> int:
    """Read a project's number out of what Label Studio calls it: ``7.1700000000``, 7 or an object.

    Raises:
        FcpError: none is in it.
    """
    name = project.get("id") if isinstance(project, Mapping) else project
    number = str(name).partition(".")[0]
    if isinstance(name, bool) or not (number.isascii() and number.isdigit() and len(number) < 19):
        raise FcpError(f"project: expected its number, got {_short(str(name))!r}")
    return int(number)
