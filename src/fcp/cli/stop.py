"""Ctrl-C, SIGTERM and a closed terminal end a command alike; the second one ends it at once.

At the first, what is done is kept and one line says how to go on. That takes moments; who does not
wait for it loses nothing either, since records and checkpoints are whole at any time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AT_ONCE = b"error: interrupted again; stopped at once, go on as after the first time\n"
_STDERR = 2


class Stopped(KeyboardInterrupt):
    """A signal has asked the command to end.

    Attributes:
        status: what shells say of a command that the signal has ended.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first signal into ``Stopped``, and end the process with the second.

    A signal that is ignored (of a job in the background) stays so. After the first one the handlers
    stay, so that the second finds them even while the interpreter shuts down.
    """
    owner, stopped = os.getpid(), False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopped
        if os.getpid() != owner:  # a worker that was forked: its parent says what there is to say
            os._exit(128 + number)
        if stopped:
            os.write(_STDERR, _AT_ONCE)
            os._exit(128 + number)
        stopped = True
        raise Stopped(number)

    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        if not stopped:
            for number, handler in before.items():
                signal.signal(number, handler)
