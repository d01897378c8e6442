"""Signals in a process of its own: the first ends it kindly, the second at once, neither loudly."""

import signal
import subprocess
import sys

import pytest

CODE = """
import signal, sys, time
for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(name, signal.default_int_handler if name == signal.SIGINT else signal.SIG_DFL)
from fcp.cli.stop import Stopped, stoppable
try:
    with stoppable():
        print("ready", flush=True)
        try:
            time.sleep(600)
        except Stopped:
            if "worker" in sys.argv:
                raise RuntimeError("a worker is killed by signal: Terminated")
            raise
except Stopped as stopped:
    print("kind end", flush=True)
    if "slow" in sys.argv:
        time.sleep(600)
    sys.exit(stopped.status)
"""


def started(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("arguments", [(), ("worker",)])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_it_kindly(how, arguments):
    process = started(*arguments)
    process.send_signal(how)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said, errors) == (128 + how, "kind end\n", "")


def test_the_second_signal_ends_it_at_once_and_without_a_traceback():
    process = started("slow")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "kind end\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("error: interrupted again")
    assert errors.count("\n") == 1


def test_handlers_come_back():
    from fcp.cli.stop import stoppable

    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
