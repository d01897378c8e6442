"""Damaged input: whether any reader answers with anything but one clear line.

    python benchmarks/fuzz.py --mutations 2000
    python benchmarks/fuzz.py --mutations 1 --reader coco --first 1234 --keep DIR

Each reader gets small valid input (``fuzz_readers.py``), of which one file is damaged: bits, pieces
cut, doubled and moved, other encodings, and in JSON, YAML and XML values of other types, huge
numbers, NaN, keys that are missing and deep nesting. A finding is an exception that the command
would not turn into one line (other than ``FcpError`` and ``OSError``), a crash, a reading of over 5
seconds, and memory that grows by over 1 GB, of archives by over 300 MB. Each mutation depends on
seed, reader and its number alone (``fuzz_mutations.py``); ``--keep`` leaves the last one's input.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fuzz_mutations import mutation
from fuzz_readers import READERS

from fcp.errors import FcpError

SECONDS = 5
ADDRESS_SPACE = 6 << 30  # beyond what is in use: then the process gets a MemoryError, not the axe
MEMORY_DISK = Path("/dev/shm")  # noqa: S108  (where it is: a file is written for each mutation)


class HangError(BaseException):
    """A reading takes too long. No ``Exception``: nobody may catch it by chance."""


@dataclass(frozen=True)
class Finding:
    """What a reader did with a mutation.

    Attributes:
        reader: Its name.
        number: Of the mutation.
        what: The exception's last line and where it comes from, or what else went wrong.
    """

    reader: str
    number: int
    what: str


def main() -> None:
    """Print each kind of finding, and a line for each reader; exit with 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--reader", action="append")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    numbers = range(asked.first, asked.first + asked.mutations)
    if asked.inside:
        return _report(asked.reader[0], numbers, asked.seed)
    found: list[Finding] = []
    for name in asked.reader or READERS:
        start = time.perf_counter()
        new = list(_in_processes(name, numbers, asked.seed))
        took = time.perf_counter() - start
        print(f"{name}: {len(numbers)} mutations, {len(new)} findings, {took:.0f} s", flush=True)
        for what, count in Counter(one.what for one in new).most_common():
            first = next(one.number for one in new if one.what == what)
            print(f"  {count}× (first {first}): {what}", flush=True)
        found += new
        if asked.keep is not None:
            asked.keep.mkdir(parents=True, exist_ok=True)
            files = READERS[name].make(asked.keep)
            file, content = mutation(files, READERS[name].kind, name, numbers[-1], asked.seed)
            file.write_bytes(content)
    sys.exit(bool(found))


def _in_processes(name: str, numbers: range, seed: int) -> Iterator[Finding]:
    """Run mutations in another process, and go on behind one that ends it."""
    while numbers:
        arguments = {"--reader": name, "--first": numbers[0], "--mutations": len(numbers)}
        flat = [str(part) for pair in {**arguments, "--seed": seed}.items() for part in pair]
        command = [sys.executable, __file__, "--inside", *flat]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
        at = numbers[0]
        for line in done.stdout.splitlines():
            number, _, what = line.partition(" ")
            at = int(number)
            if what:
                yield Finding(name, at, json.loads(what))
        if done.returncode == 0:
            return
        yield Finding(name, at, f"ended with {done.returncode}")
        numbers = range(at + 1, numbers.stop)


def _report(name: str, numbers: range, seed: int) -> None:
    """Print the number of each mutation before it is read, and what was found after it."""
    warnings.simplefilter("ignore")
    _limit_memory()
    for number in numbers:
        print(number, flush=True)
        for finding in findings(name, range(number, number + 1), seed):
            print(number, json.dumps(finding.what), flush=True)


def _limit_memory() -> None:
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + ADDRESS_SPACE,) * 2)


_made: dict[str, tuple[tempfile.TemporaryDirectory[str], Sequence[Path]]] = {}


def findings(name: str, numbers: Sequence[int], seed: int = 0) -> Iterator[Finding]:
    """Read mutations of one reader's input in this process; yield what is wrong.

    Raises:
        Exception: the input is refused before it is damaged.
    """
    reader = READERS[name]
    if name not in _made:
        place = tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None)
        _made[name] = place, reader.make(Path(place.name))
        reader.read(Path(place.name))
    place, files = _made[name]
    for number in numbers:
        before = _peak()
        file, content = mutation(files, reader.kind, name, number, seed)
        whole = file.read_bytes()
        file.write_bytes(content)
        what = _what_goes_wrong(reader.read, Path(place.name))
        file.write_bytes(whole)
        if what is None and _peak() - before > reader.memory:
            what = f"takes over {reader.memory >> 20} MB"
        if what is not None:
            yield Finding(name, number, what)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _what_goes_wrong(read: Callable[[Path], object], folder: Path) -> str | None:
    """Read once; say what went wrong, if it is nothing that becomes one line."""
    try:
        with _stopwatch():
            read(folder)
    except FcpError as error:
        return _unclear(error)
    except OSError:
        return None
    except (Exception, HangError) as error:
        steps = traceback.extract_tb(error.__traceback__)
        ours = [step for step in steps if "/fcp/" in step.filename] or steps[-1:]
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return f"{type(error).__name__} in {where} {ours[-1].name}: {str(error)[:100]}"
    return None


def _unclear(error: Exception) -> str | None:
    """Return what is wrong with a message: a line for each fault is right, a page is not."""
    longest = max(map(len, str(error).split("\n")))
    return f"a line of {longest // 1000},000 characters" if longest >= 5000 else None


@contextmanager
def _stopwatch() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise HangError(f"over {SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor: others may need it too
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"  # a damaged setting may name weights
    main()
