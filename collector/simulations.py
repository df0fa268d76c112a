"""Simulations under way: each in a process of its own that only reads, so that its CPU is never serving's, and with a thread that listens.

The process is given its task on standard input, which nobody else can see, and writes a line of JSON each second or so. What it says is
written down here. A few at a time, and one for each site.
"""

import contextlib
import functools
import logging
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import msgspec

from collector import processes
from collector.domain import simulation_runs as runs
from collector.domain.auto_messages import AutoMessage
from collector.domain.simulation_runs import Run
from collector.settings import Settings
from collector.storage.database import Connection
from collector.values.clock import Clock

log = logging.getLogger(__name__)

MOST = 2
"""How many processes one collector has at once."""
_MODULE = "collector.simulating"
_SILENCE_SECONDS = runs.SILENCE / 1_000
_ATTEMPTS = 5
_END_SECONDS = 5.0  # to write down that it ended; else whoever asks finds that out by its silence

Transact = Callable[[Callable[[Connection], Any]], Any]


class Task(msgspec.Struct, frozen=True):
    """What a process is to do: one message (by public id) of a site, for some days until `now` (ms)."""

    settings: Settings
    site: int
    message: str
    days: int
    now: int


class Busy(Exception):
    """As many simulations are under way in one collector as may be."""


class Simulations:
    """Starts simulations, listens to them, ends them."""

    def __init__(self, settings: Settings, clock: Clock, transact: Transact) -> None:
        self._settings = settings
        self._clock = clock
        self._transact = transact
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._under_way: dict[str, tuple[subprocess.Popen[bytes], threading.Thread]] = {}

    def start(self, site: int, message: AutoMessage, days: int) -> Run:
        """Begin one.

        Raises:
            AlreadyRunning: the site has one under way.
            Busy: this collector has too many.
        """
        with self._lock:
            if len(self._under_way) >= MOST or self._stopping.is_set():
                raise Busy
            now = self._clock()
            run: Run = self._transact(lambda tx: runs.begin(tx, site, message.id, message.version, days, now))
            process = None
            try:
                process = processes.start(_MODULE)
                task = Task(self._settings, site, message.public_id, days, now)
                thread = threading.Thread(target=self._listen, args=(task, run.id, process), name="simulation", daemon=True)
                thread.start()
            except (OSError, RuntimeError):  # no more processes, or threads, are to be had
                if process is not None:
                    process.kill()
                self._end(site, run.id, runs.FAILED, reason=runs.KILLED)
                raise
            self._under_way[run.id] = process, thread
        return run

    def cancel(self, site: int, run: str) -> None:
        """End one, wherever it runs: another collector hears of it at the next sign of life."""
        self._end(site, run, runs.CANCELLED)
        with self._lock:
            if run in self._under_way:
                self._under_way[run][0].kill()

    def processes(self) -> list[int]:
        """Return the ids of the processes under way."""
        with self._lock:
            return [process.pid for process, _ in self._under_way.values()]

    def close(self) -> None:
        """End all."""
        with self._lock:
            self._stopping.set()
            under_way = list(self._under_way.values())
            for process, _ in under_way:
                process.kill()
        for _, thread in under_way:
            thread.join(_END_SECONDS)

    def _listen(self, task: Task, run: str, process: subprocess.Popen[bytes]) -> None:
        """Give a process its task, and write down what it says, until it has ended."""
        said: dict[str, Any] = {}
        try:
            _give(process, task)
            for said in _lines(process):
                if "progress" in said and not self._goes_on(task.site, run, said["progress"]):
                    break
        finally:
            process.kill()
            process.wait()
            if "result" in said:
                self._end(task.site, run, runs.DONE, result=said["result"])
            else:
                why = runs.STOPPED if self._stopping.is_set() else runs.BROKE_OFF if "error" in said else runs.KILLED
                self._end(task.site, run, runs.FAILED, reason=why)
            with self._lock:
                del self._under_way[run]

    def _goes_on(self, site: int, run: str, progress: int) -> bool:
        try:
            return bool(self._transact(lambda tx: runs.beat(tx, site, run, progress, self._clock())))
        except Exception as error:  # the database is in trouble: the next sign of life may be written
            log.warning("a simulation's sign of life was not written: %s", type(error).__name__)
            return True

    def _end(self, site: int, run: str, state: str, **fields: Any) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._transact(functools.partial(_ended, site=site, run=run, state=state, now_ms=self._clock(), **fields))
            except Exception as error:  # where it is never written, whoever asks finds that nothing was heard of it
                log.warning("the end of a simulation was not written: %s", type(error).__name__)
                time.sleep(attempt * 0.5)
            else:
                return


def _ended(tx: Connection, *, site: int, run: str, state: str, now_ms: int, **fields: Any) -> bool:
    return runs.end(tx, site, run, state, now_ms, **fields)


def _give(process: subprocess.Popen[bytes], task: Task) -> None:
    with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as given:  # one that has ended says nothing, which is told
        given.write(msgspec.json.encode(task))


def _lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what a process says, until it ends, or is silent for too long."""
    with cast("IO[bytes]", process.stdout) as output, selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        rest = b""
        while selector.select(_SILENCE_SECONDS):
            read = os.read(output.fileno(), 65_536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                said: dict[str, Any] = msgspec.json.decode(line)
                yield said
