"""Processes of this program: how one starts another, and what each does first."""

import ctypes
import gc
import hashlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ORDERS = (signal.SIGINT, signal.SIGTERM)
"""The signals by which a process is told to end."""

HANGING_UP = (signal.SIGHUP, signal.SIGQUIT)
"""The signals of a terminal that is closed, or left in anger."""

_GARBAGE = (100_000, 20, 50)
"""How many more objects than before make Python look for cycles, and how many looks at the young ones make one at the older."""

_ARENAS, _MOST_ARENAS = 2, -8
"""How many parts glibc's heap may have, and what `mallopt` calls that."""


def _edition() -> str:
    """Return a digest of the names, sizes and times of this program's files."""
    folder = Path(__file__).parent
    files = [(str(path.relative_to(folder)), path.stat()) for path in sorted(folder.rglob("*.py"))]
    told = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files)
    return hashlib.sha256(told.encode()).hexdigest()


EDITION = _edition()
"""Which files this process was started from, so that one that is started later can tell that they were replaced."""


def log_to_standard_error() -> None:
    """Log as every process of this program does."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")


def look_for_garbage_seldom() -> None:
    """Let Python look for cycles seldom, and never among what stays for good: each look through all of it keeps every visitor waiting."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


def share_the_heap() -> None:
    """Let all threads share the heap, where that is glibc's to say.

    Otherwise many have a part of their own, up to eight for each processor, and each part keeps what its largest request took.
    """
    say = getattr(ctypes.CDLL(None), "mallopt", None)
    if say is not None:
        say(_MOST_ARENAS, _ARENAS)


@contextmanager
def orders_held(numbers: Collection[signal.Signals] = ORDERS) -> Iterator[None]:
    """Let orders to end wait meanwhile. A process that is started meanwhile begins with its orders held."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(module: str, keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a process of this program that reads standard input and writes standard output, which lead here; of others it gets `keep`.

    Raises:
        OSError: no more processes are to be had.
    """
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", module]  # -P: what lies in the folder that the collector was started in is none of its modules
    environ = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, pass_fds=keep)  # noqa: S603 (our own program)
