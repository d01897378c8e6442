"""The end of a command by Ctrl-C, SIGTERM or a closed terminal; a second signal ends it at once.

After the first signal, finished work is kept and one line says how to continue, which takes a
moment. A second signal loses nothing either: records and checkpoints are complete at any time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AT_ONCE = b"error: interrupted again; stopped at once, continue as after the first time\n"
_STDERR = 2


class Stopped(KeyboardInterrupt):
    """The request of a signal to end the command.

    Args:
        number: Number of the signal.

    Attributes:
        status: Exit status of a command that the signal has ended.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first signal into ``Stopped``, and end the process at the second.

    A signal that is ignored (as in a background job) stays ignored. The handlers stay after the
    first signal, so that they also work while the interpreter shuts down. An error after the first
    signal, such as that of a worker which the same signal ended, is not told.
    """
    owner = os.getpid()
    stopped: Stopped | None = None

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopped
        if os.getpid() != owner:  # a forked worker: its parent prints the message
            os._exit(128 + number)
        if stopped is not None:
            os.write(_STDERR, _AT_ONCE)
            os._exit(128 + number)
        stopped = Stopped(number)
        raise stopped

    before = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    except Exception as error:
        if stopped is None:
            raise
        raise stopped from error
    finally:
        if stopped is None:
            for number, handler in before.items():
                signal.signal(number, handler)
