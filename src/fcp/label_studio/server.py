"""The HTTP server for the requests of Label Studio, as its ``ml/api_connector.py`` sends them.

``GET /health``; ``POST /setup`` when it connects and before each prediction; ``POST /predict``;
``POST /webhook`` when annotations change and for "Start training"; ``GET /versions``.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as TookTooLong
from typing import Any

from fcp.errors import FcpError
from fcp.label_studio.backend import Backend, Fitted
from fcp.label_studio.client import project_id

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
except ImportError as missing:
    raise FcpError(
        f"label-studio needs a web server ({missing}); pip install "
        "'.[label-studio]' in the checkout"
    ) from missing

MAX_BODY = 512 << 20  # bytes; a hundred tasks with brush strokes
# Seconds. Label Studio waits 3 for /setup, 1 for a webhook and 100 for "Start training".
SETUP_WAITS, TRAINING_WAITS = 1.5, 60
CHANGES = {
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "PROJECT_UPDATED",
}
TRAINING = "START_TRAINING"
Content = Mapping[str, Any]
_log = logging.getLogger(__name__)


class Service:
    """The answers to Label Studio's requests, as JSON objects; fits run in a thread of their own.

    Args:
        backend: Model that predicts and fits.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._fits = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fit")
        self._waiting: dict[int, Future[Fitted]] = {}

    def setup(self, content: Content) -> dict[str, Any]:
        """Read new annotations, and return the current version.

        Raises:
            FcpError: the request has no project, or an unusable configuration.
        """
        project = project_id(content.get("project"))
        self._backend.check(str(content.get("schema", "")))
        self._backend.studio.adopt_key(content.get("access_token"))
        if self._backend.studio.has_key:
            wait([self._refresh(project)], SETUP_WAITS)
        return {"model_version": self._backend.version(project)}

    def predict(self, content: Content) -> dict[str, Any]:
        """Predict tasks, or answer a smart tool.

        Raises:
            FcpError: the request has no project, no tasks, or an unusable configuration.
        """
        project = project_id(content.get("project"))
        config = str(content.get("label_config", ""))
        tasks = content.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise FcpError("predict: expected a list of tasks")
        params = content.get("params")
        context = params.get("context") if isinstance(params, dict) else None
        if isinstance(context, dict) and context.get("result"):
            hints = [self._backend.answer_hint(project, config, task, context) for task in tasks]
            return {"results": hints}
        return {"results": self._backend.predict(project, config, tasks)}

    def webhook(self, content: Content) -> dict[str, Any]:
        """Start a fit after a change of annotations; for "Start training", wait for its end.

        Raises:
            FcpError: the request has no project, or the fit of "Start training" has failed.
        """
        action = content.get("action")
        if not isinstance(action, str) or action not in {TRAINING, *CHANGES}:
            return {"status": "ignored"}
        project = project_id(content.get("project"))
        if self._backend.studio.has_key:
            fit = self._refresh(project)
        else:
            fit = self._fits.submit(_logged, self._take_payload, project, content)
        if action != TRAINING:
            return {"status": "taken in"}
        try:
            fitted = fit.result(timeout=TRAINING_WAITS)
        except TookTooLong:
            return {"status": "running"}
        return {"status": "done", "model_version": fitted.version, "examples": fitted.tasks()}

    def _refresh(self, project: int) -> Future[Fitted]:
        """Schedule a fit of a project, unless one is waiting already."""
        waiting = self._waiting.get(project)
        if waiting is None or waiting.running() or waiting.done():
            waiting = self._fits.submit(_logged, self._backend.fit, project)
            self._waiting[project] = waiting
        return waiting

    def _take_payload(self, project: int, content: Content) -> Fitted:
        """Fit with the annotations in the webhook itself, without a key to Label Studio's API."""
        deleted = content.get("annotations")
        if content.get("action") == "ANNOTATIONS_DELETED" and isinstance(deleted, list):
            return self._backend.forget(
                project, [one.get("id") for one in deleted if isinstance(one, dict)]
            )
        listed, annotations = _list(content.get("task")), _list(content.get("annotation"))
        tasks = [
            {**task, "annotations": [one for one in annotations if one.get("task") == task["id"]]}
            for task in listed
            if "id" in task
        ]
        of = content.get("project")
        config = of.get("label_config", "") if isinstance(of, dict) else ""
        if not tasks:
            _log.warning("project %d: %s needs --api-key", project, content.get("action"))
            return self._backend.fitted(project)
        return self._backend.fit_tasks(project, str(config), tasks)


def _logged(fit: Callable[..., Fitted], project: int, *more: Content) -> Fitted:
    """Run a fit and log a failure, because nobody may read the result of its future."""
    try:
        return fit(project, *more)
    except FcpError as error:
        _log.warning("project %d: its annotations cannot be read: %s", project, error)
        raise
    except Exception:
        _log.exception("project %d: its annotations cannot be read", project)
        raise


def make_app(backend: Backend) -> Starlette:
    """Return the web application."""
    service = Service(backend)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "UP", "model_class": "fcp"})

    async def versions(_: Request) -> JSONResponse:
        return JSONResponse({"versions": backend.versions()})

    posts = {"setup": service.setup, "predict": service.predict, "webhook": service.webhook}
    gets = {"": health, "health": health, "versions": versions}
    return Starlette(
        routes=[
            *(Route(f"/{name}", endpoint) for name, endpoint in gets.items()),
            *(Route(f"/{name}", _answers(do), methods=["POST"]) for name, do in posts.items()),
        ]
    )


def serve(backend: Backend, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Args:
        backend: Model that predicts and fits.
        host: Address to listen at.
        port: Port to listen at; 0 for a free one.
        ready: Function that is called with the URL once the server accepts requests.

    Raises:
        FcpError: the port is in use, or the host does not exist.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise FcpError(
            f"{host}:{port}: cannot be listened at ({error}); choose another --port"
        ) from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{listening.getsockname()[1]}")
        config = uvicorn.Config(make_app(backend), log_level="warning")
        uvicorn.Server(config).run(sockets=[listening])


def _answers(
    answer: Callable[[Content], dict[str, Any]],
) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def endpoint(request: Request) -> JSONResponse:
        try:
            content = await _read(request)
            return JSONResponse(await run_in_threadpool(answer, content))
        except FcpError as error:
            _log.warning("%s: %s", request.url.path, error)
            return JSONResponse({"error": str(error)}, status_code=400)

    return endpoint


async def _read(request: Request) -> Content:
    """Read the JSON object of a request, and refuse all other content types and all web pages.

    A web page of another origin can send other types here, but JSON only after a preflight request,
    which is refused. One whose name leads to this machine (DNS rebinding) needs none, but its
    browser states its origin, which Label Studio's server does not.
    """
    if "origin" in request.headers:
        raise FcpError("a web page asks, not Label Studio's server")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise FcpError("expected application/json")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY:
            raise FcpError(f"the request has more than {MAX_BODY >> 20} MiB")
        pieces.append(piece)
    try:
        content = json.loads(b"".join(pieces))
    except (ValueError, RecursionError) as error:
        raise FcpError(f"the request is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise FcpError("the request is no JSON object")
    return content


def _list(given: object) -> list[dict[str, Any]]:
    """Return one object or a list of objects as a list."""
    many = given if isinstance(given, list) else [given]
    return [one for one in many if isinstance(one, dict)]
