"""One visitor's pictures, examples and run, in a folder that is removed at the end of the visit.

A closed tab, a reloaded page and a lost connection (a phone that shows another program) look alike
here. So the run is stopped at once, but the folder is kept for a while, for a visitor who comes
back.
"""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fcp.app.corrections import Correction
from fcp.app.limits import Budget, Limits
from fcp.app.marks import Marked, by_class
from fcp.app.runs import Engine, PhotoRun, make_task
from fcp.app.uploads import Intake
from fcp.data.decode import Decoding
from fcp.data.images import DEFAULT
from fcp.errors import FcpError
from fcp.labelling.task import Appearances, Tile

IDLE_SECONDS = 6 * 3600.0  # without a request, while the page is connected
AWAY_SECONDS = 30 * 60.0  # without a request, after the connection was lost
LEAST_TILE = 200  # px; other visitors wait while a photo is segmented
PREFIX = "visitor-"
ENDED = "this visit has ended; load the page again"


@dataclass(frozen=True)
class OpenPicture:
    """The picture that is open in the editor.

    Attributes:
        picture: File of the picture.
        size: (H, W) of the picture in px.
        correction: The result of a run that is being corrected, or None.
    """

    picture: Path
    size: tuple[int, int]
    correction: Correction | None = None


class Session:
    """One visitor's pictures, examples and last run.

    Args:
        folder: Existing folder that no other visitor uses.
        limits: Limits on the visitor's uploads.
        decoding: Options for reading the visitor's pictures.
        every_page: Whether each page of an uploaded file is a photo of its own.

    Attributes:
        originals: Picture → the visitor's name for it.
        alone: Lock for reading and then changing the lists or the run; handlers of one visitor run
            at the same time.
        last_used: Time of the last request, by ``time.monotonic``.
        away: Whether the connection to the page was lost. It is not heard of again where a page
            comes back, so this stays.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        decoding: Decoding = DEFAULT,
        *,
        every_page: bool = False,
    ) -> None:
        budget = Budget(limits)
        self.folder = folder
        self.decoding = decoding
        self.every_page = every_page
        self.alone = threading.RLock()
        self.originals: dict[Path, str] = {}
        self.examples_in = Intake(folder / "examples", budget, self.originals)
        self.photos_in = Intake(folder / "photos", budget, self.originals, once=True)
        self.to_mark: list[Path] = []
        self.photos: list[Path] = []
        self.previews: dict[Path, Path] = {}  # photo → a small copy of it
        self.open_picture: OpenPicture | None = None
        self.marked: list[Marked] = []
        self.chosen_example: int | None = None
        self.run: PhotoRun | None = None
        self.shown: list[str] = []  # stems in the gallery's order
        self.page = 0
        self.chosen: str | None = None  # stem of the photo in the detail view
        self.last_used = time.monotonic()
        self.away = False
        self._numbers = 0
        self._lock = threading.Lock()
        self._workers = 0
        self._closed = False

    @contextmanager
    def work(self) -> Iterator[None]:
        """Keep the folder while the context is open.

        Raises:
            FcpError: the visit has ended.
        """
        with self._lock:
            if self._closed:
                raise FcpError(ENDED)
            self._workers += 1
        self.last_used = time.monotonic()
        try:
            yield
        finally:
            self.last_used = time.monotonic()
            self._leave()

    def leave(self) -> None:
        """Stop the run after its current photo, and note that the connection was lost."""
        self.away = True
        self._stop_run()

    def close(self) -> None:
        """Stop the run, and remove the folder now or when the last work in it is done."""
        with self._lock:
            self._closed = True
            idle = self._workers == 0
        self._stop_run()
        if idle:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def seconds_left(self) -> float:
        """Time after which the visit ends if no request comes; none while the folder is used."""
        longest = AWAY_SECONDS if self.away else IDLE_SECONDS
        return longest if self._workers else self.last_used + longest - time.monotonic()

    def number(self) -> int:
        """Return a number that this visit has not used yet."""
        with self._lock:
            self._numbers += 1
            return self._numbers

    def remove_photos(self) -> None:
        """Remove all photos except examples and the picture in the editor.

        Raises:
            FcpError: a run is using them.
        """
        with self.alone:
            self._check_no_run()
            kept = {one.example.picture for one in self.marked}
            kept |= {self.open_picture.picture} if self.open_picture is not None else set()
            for photo in self.photos:
                if photo not in kept:
                    self.photos_in.forget(photo)
            for preview in self.previews.values():
                preview.unlink(missing_ok=True)
            self.photos, self.previews = [], {}
            # Later photos of the same names get other paths: the old run and the examples still use
            # the old paths.
            folder = self.folder / f"photos{self.number()}"
            self.photos_in = Intake(folder, self.photos_in.budget, self.originals, once=True)

    def start_run(
        self, engine: Engine, *, tile: Tile, instances: bool, appearance: Appearances = "auto"
    ) -> PhotoRun:
        """Start a run over all photos; the previous run and its files are removed.

        Raises:
            FcpError: a run is in progress, the tiles are too small, or photos or examples are
                missing.
        """
        with self.alone:
            self._check_no_run()
            classes, against = by_class(self.marked)
            if isinstance(tile, int) and tile < LEAST_TILE:
                raise FcpError(
                    f"tiles of {tile} px are too small; use {LEAST_TILE} px or more, or 0"
                )
            if not self.photos:
                raise FcpError("there are no photos yet; add some, a folder or a .zip")
            if self.run is not None:
                shutil.rmtree(self.run.folder, ignore_errors=True)
            task = make_task(
                classes,
                against,
                tile=tile,
                instances=instances,
                appearance=appearance,
                decoding=self.decoding,
            )
            folder = self.folder / f"run{self.number()}"
            self.run = PhotoRun(
                engine,
                task,
                self.photos,
                folder,
                marked=self.marked,
                originals=self.originals,
            )
            self.shown, self.page, self.chosen = [], 0, None
            self.run.start(self.work)
            return self.run

    def finished_run(self) -> PhotoRun:
        """Return the last run.

        Raises:
            FcpError: there is none, or it is still in progress.
        """
        if self.run is None or not self.run.finished.is_set():
            raise FcpError("there are no results yet; run the photos first")
        return self.run

    def public_text(self, error: Exception) -> str:
        """Return an error's text with the visitor's file names, without the server's folders."""
        text = str(error)
        # The longest first: one name may be the beginning of another ("a.jpg", "a.jpg_small").
        for picture in sorted(self.originals, key=lambda path: -len(path.name)):
            text = text.replace(str(picture), self.originals[picture])
        return re.sub(rf"{re.escape(str(self.folder))}/([\w-]+/)*", "", text)

    def _stop_run(self) -> None:
        if self.run is not None:
            self.run.stop()

    def _check_no_run(self) -> None:
        if self.run is not None and not self.run.finished.is_set():
            raise FcpError("a run is in progress; wait for it or cancel it")

    def _leave(self) -> None:
        with self._lock:
            self._workers -= 1
            last = self._closed and self._workers == 0
        if last:
            shutil.rmtree(self.folder, ignore_errors=True)


class SessionStore:
    """All visitors' sessions, by the key of their page.

    Args:
        root: Folder for all files, Gradio's included; created if missing.
        limits: Limits on the uploads of each visitor.
        decoding: Options for reading all pictures.
        every_page: Whether each page of an uploaded file is a photo of its own.
    """

    def __init__(
        self,
        root: Path,
        limits: Limits,
        decoding: Decoding = DEFAULT,
        *,
        every_page: bool = False,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.limits = limits
        self.decoding = decoding
        self.every_page = every_page
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Session:
        """Return a visitor's session.

        Raises:
            FcpError: the visit has ended, or was never begun.
        """
        session = self._sessions.get(key)
        if session is None:
            raise FcpError(ENDED)
        return session

    def begin(self, key: str) -> Session:
        """Return a visitor's session, new at the first call.

        Raises:
            FcpError: too many visitors at a time.
        """
        with self._lock:
            known = self._sessions.get(key)
            if known is not None:
                return known
            self._sweep()
            if len(self._sessions) >= self.limits.sessions:
                self._make_room()
            # The key comes from a browser, so the folder gets a name that nobody can guess.
            folder = self.root / f"{PREFIX}{secrets.token_urlsafe(16)}"
            folder.mkdir()
            session = Session(folder, self.limits, self.decoding, every_page=self.every_page)
            self._sessions[key] = session
            return session

    def leave(self, key: str) -> None:
        """Stop a visitor's run, and end the visit if no request comes for ``AWAY_SECONDS``."""
        session = self._sessions.get(key)
        if session is not None:
            session.leave()
            self._end_later(key, session)

    def close(self, key: str) -> None:
        """End a visit; do nothing for an unknown key."""
        with self._lock:
            self._close(key)

    def close_all(self) -> None:
        """End all visits."""
        for key in list(self._sessions):
            self.close(key)

    def _end_later(self, key: str, session: Session) -> None:
        """End a visit once no request has come for its time; asked again when that has passed."""
        timer = threading.Timer(session.seconds_left, self._end_if_unused, (key, session))
        timer.daemon = True
        timer.start()

    def _end_if_unused(self, key: str, session: Session) -> None:
        with self._lock:
            if self._sessions.get(key) is not session:
                return
            if session.seconds_left <= 0:
                self._close(key)
                return
        self._end_later(key, session)

    def _close(self, key: str) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            session.close()
        if not self._sessions:
            self._sweep_uploads(0)

    def _make_room(self) -> None:
        """End the visit whose page was lost the longest time ago.

        Raises:
            FcpError: all pages are connected.
        """
        away = {key: one.seconds_left for key, one in self._sessions.items() if one.away}
        if not away:
            raise FcpError("too many visitors at a time; try again later")
        self._close(min(away, key=lambda key: away[key]))

    def _sweep(self) -> None:
        """Remove visits that were idle too long, and old uploads that no visit has taken."""
        for key in [key for key, one in self._sessions.items() if one.seconds_left <= 0]:
            self._close(key)
        self._sweep_uploads(IDLE_SECONDS)

    def _sweep_uploads(self, age: float) -> None:
        """Remove the files of Gradio beside the visitors' folders that are at least this old.

        Uploads and drawings lie there under the hash of their content. Several visitors may share
        such a file, so it is removed when it is old or when no visitor is left.

        Args:
            age: Smallest age in seconds.
        """
        for path in self.root.iterdir():
            if path.name.startswith(PREFIX) or _age(path) < age:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime if path.exists() else 0.0
