"""The group commit: whoever writes hands its work to a thread, which commits what is waiting and only then answers.

Work is queued per site; what waits for one site becomes one transaction, so that none of its commits crosses sites. Kinds of work
that can share statements (`Bulk`) are handed over together; everything else runs one after another, each behind a savepoint, so
that one failure costs nobody else. If a bulk fails as a whole, it is run again in halves, down to the items of one request
(`commits.Rescue`), and only the culprit fails. What commits is `commits.commit`, or for a bulk a process of its own
(`commits.Partner`).
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from collector.storage.commits import TRIALS, Bulk, NoPartner, Partner, Rescue, Result, Work, commit
from collector.storage.database import Connection, Database
from collector.storage.faults import is_denied, is_locked, is_of_data, is_unavailable, reason

log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.002
_LOOK_SECONDS = 0.02
_STUCK_SECONDS = 15
_JOIN_SECONDS = 1
_WATCH_SECONDS = 1
_HELD_SECONDS = 30
_NEVER = 2**62
_GROUP_BYTES = 2**24  # beyond which nothing more joins a group: what is written is in memory several times


class Overloaded(Exception):
    """The queue is full, the database cannot be reached, or the writer is shutting down: try again later.

    Nothing was written, unless the connection was lost during the commit itself, or the database has not answered that for too long; then
    nobody can know, and what is sent again has to be recognised by its id. So has what was written of a request before an outage that came
    while it was searched for what the database refuses.
    """


class _Unit:
    """Something to write, and its answer."""

    __slots__ = ("answered", "done", "error", "payload", "result", "site", "size", "whole", "work")

    def __init__(self, site: int, payload: Any, work: Work | None, size: int, *, whole: bool = False) -> None:
        self.site = site
        self.whole = whole
        """Whether all of it is to be written or nothing."""
        self.size = size
        self.payload = payload
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.answered = False
        """Whether nobody waits any more."""
        self.done = False
        """Whether it is written, or never will be."""


class _Waited(_Unit):
    """A unit that a thread waits for. A bare lock wakes it: the cheapest thing that can wait."""

    __slots__ = ("_answered",)

    def __init__(self, site: int, payload: Any, work: Work | None, size: int = 0, *, whole: bool = False) -> None:
        super().__init__(site, payload, work, size, whole=whole)
        self._answered = threading.Lock()
        self._answered.acquire()

    def wake(self) -> None:
        """Let the thread go on."""
        self._answered.release()

    def wait(self) -> Any:
        """Return the result, or raise the error, once there is one."""
        self._answered.acquire()
        error, self.error = self.error, None
        if error is None:
            return self.result
        try:
            raise error
        finally:
            del error  # or it would keep this frame, and what led to it, until Python looks for cycles


class _Awaited(_Unit):
    """A unit that a task of an event loop awaits."""

    __slots__ = ("future", "loop")

    def __init__(self, site: int, payload: Any, work: Work | None, size: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(site, payload, work, size)
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def wake(self) -> None:
        """Let the task go on, from its loop, unless its client went away; what that one sent is committed all the same."""
        future, error, self.error = self.future, self.error, None
        del self.future  # as in `_Waited.wait`
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(self.result)


class Writer:
    """Commits for a whole process: by one thread, or by several where the database takes several transactions at once.

    While the server works for one thread, another may gather and speak.
    """

    def __init__(
        self,
        database: Database,
        bulk: Bulk,
        *,
        queue_limit: int,
        group_limit: int,
        byte_limit: int = 2**28,
        threads: int = 1,
        partners: Sequence[Partner] = (),
    ) -> None:
        """Begin. Where there are `partners`, one for each thread, they commit what `bulk` would."""
        self._database = database
        self._bulk = bulk
        self._partners = partners
        self._queue_limit = queue_limit
        self._group_limit = group_limit
        self._byte_limit = byte_limit
        self._bytes = 0
        self._wanted = 1
        self._queue: deque[_Unit] = deque()
        self._wake = threading.Condition()
        self._process = os.getpid()
        self._closing = False
        self._refused: dict[bool, str] = {}
        """Why the last commit was refused, of what partners commit, and of the rest."""
        self._turn = threading.Lock()
        self._sizes = [0] * threads
        self._trials = [0] * threads
        self._at_work: list[list[_Unit]] = [[] for _ in range(threads)]
        self._began: list[float] = [_NEVER] * threads
        names = ["writer", *(f"writer {number}" for number in range(2, threads + 1))]
        self._threads = [threading.Thread(target=self._loop, args=(place,), name=name, daemon=True) for place, name in enumerate(names)]
        self._closed = threading.Event()
        self.died: Callable[[], None] = lambda: None
        """Called once a thread has died of a fault of ours: nothing is written by this process any more."""
        self._held: tuple[int | None, float] = (None, 0.0)
        """The site that met a row which somebody held for too long, and when."""
        for thread in (*self._threads, threading.Thread(target=self._watch, name="writer's watch", daemon=True)):
            thread.start()

    def record(self, site: int, payload: Any, size: int = 0, *, whole: bool = False) -> Any:
        """Write a payload (of about `size` bytes) in the next bulk and return its result after the commit.

        What the database refuses of it costs only itself, unless it is to be written `whole` or not at all.

        Raises:
            Overloaded: try again later.
        """
        unit = _Waited(site, payload, None, size, whole=whole)
        self._submit(unit)
        return unit.wait()

    def run(self, site: int, work: Work) -> Any:
        """Run `work(transaction)` and return its result after the commit. An exception undoes this work alone.

        Raises:
            Overloaded: try again later.
        """
        unit = _Waited(site, None, work)
        self._submit(unit)
        return unit.wait()

    def recorded(self, site: int, payload: Any, size: int = 0) -> "asyncio.Future[Any]":
        """Do as `record` does, for the running event loop to await."""
        unit = _Awaited(site, payload, None, size, asyncio.get_running_loop())
        self._submit(unit)
        return unit.future

    def done(self, site: int, work: Work) -> "asyncio.Future[Any]":
        """Do as `run` does, for the running event loop to await."""
        unit = _Awaited(site, None, work, 0, asyncio.get_running_loop())
        self._submit(unit)
        return unit.future

    def waiting(self) -> int:
        """Return how many units wait."""
        return len(self._queue)

    def settle(self) -> None:
        """Return when everything that was handed over before is written, or refused.

        Raises:
            Overloaded: it has been at work for too long.
        """
        with self._wake:
            before = [unit for units in (self._queue, *self._at_work) for unit in units]
        while not all(unit.done for unit in before):
            if any(self._is_late(began) for began in self._began):
                raise Overloaded
            time.sleep(_LOOK_SECONDS)

    def alive(self) -> bool:
        """Say whether anything can be written at all."""
        return all(thread.is_alive() for thread in self._threads) and not self._closing and not self._stuck()

    def takes(self, trial: Work) -> bool:
        """Say whether the database takes commits: as far as the last one tells, and where that was refused, by a `trial` of its own.

        Whoever is told that it does not sends nothing any more, so that nobody else would find out when it does again. A trial that was
        turned away with a group that failed before its turn came has tried nothing, and is sent again: each thread may be at one such.
        """
        if not self._refused:
            return True
        tried = False

        def work(tx: Connection) -> None:
            nonlocal tried
            tried = True
            trial(tx)

        for _ in range(len(self._threads) + 1):
            if tried:
                break
            with contextlib.suppress(Overloaded):
                self.run(0, work)
        if self._partners:  # whose connections are others
            with contextlib.suppress(Overloaded):
                self.record(0, [])
        return not self._refused

    def close(self) -> None:
        """Write what is queued, then stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        for place, thread in enumerate(self._threads):
            while thread.is_alive() and not self._is_late(self._began[place]):
                thread.join(_JOIN_SECONDS)
        self._turn_away_late()
        self._closed.set()
        for partner in self._partners:
            partner.close()

    def _submit(self, unit: _Unit) -> None:
        if os.getpid() != self._process:  # whoever submitted here would wait for ever
            raise RuntimeError("the process was forked after the collector was built, and has no writer: build it in each worker")
        with self._wake:
            if self._closing or len(self._queue) >= self._queue_limit or self._bytes > self._byte_limit or self._stuck():
                raise Overloaded
            self._queue.append(unit)
            self._bytes += unit.size
            if len(self._queue) >= self._wanted:
                self._wake.notify()

    def _watch(self) -> None:
        """Turn away who waits in vain, also while nobody else comes."""
        while not self._closed.wait(_WATCH_SECONDS):
            self._turn_away_late()
            for partner in self._partners:
                partner.watch()

    def _stuck(self) -> bool:
        """Say whether every thread waits for the database, and has for so long that nobody had better wait with it."""
        return self._is_late(max(self._began))

    def _is_late(self, began: float) -> bool:
        return time.monotonic() - began >= _STUCK_SECONDS

    def _turn_away_late(self) -> None:
        """Turn away whose commit has not been answered for too long, and where that is so of all threads those who wait behind them.

        As where a standby is gone without which nothing is to be committed: then the server answers, but never to that. What was under
        way may be committed after all, and is recognised by its id when it is sent again.
        """
        with self._wake:
            late = [units for began, units in zip(self._began, self._at_work, strict=True) if self._is_late(began)]
            waiting = [unit for units in late for unit in units if not unit.answered]
            if waiting:
                log.warning("the database has not answered for %d s; %d requests are turned away", _STUCK_SECONDS, len(waiting))
                self._refused |= {self._goes_elsewhere(unit): "silent" for unit in waiting}
                _answer(waiting, None)
            if len(late) == len(self._threads):
                self._empty(())

    def _loop(self, place: int) -> None:
        while True:
            with self._turn, self._wake:  # one thread at a time gathers
                self._gather(self._enough())
                if not self._queue:
                    if self._closing:
                        return
                    continue  # another thread turned everybody away while this one gathered
                group = self._take()
                self._bytes -= sum(unit.size for unit in group)
                self._sizes[place] = len(group)
                self._trials[place] = TRIALS
                self._at_work[place] = group
            try:
                for part in self._transactions(group):
                    self._commit(place, part)
            except Overloaded as error:
                self._turn_away(group, error.__cause__)
            except BaseException as error:
                # Nobody may wait for ever for a thread that is gone; readiness says so, and the process is to be started again.
                # What the exception says may quote values: where it came from says enough.
                log.critical("the writer died: %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
                self._closing = True
                self._turn_away(group, None)
                self.died()
                raise
            finally:
                for unit in group:
                    unit.done = True
                self._began[place] = _NEVER
                self._at_work[place] = []

    def _enough(self) -> int:
        """Return how many to wait for: as many as asked a moment ago, shared out among the threads."""
        return sum(self._sizes) // len(self._sizes)

    def _turn_away(self, group: Sequence[_Unit], why: BaseException | None) -> None:
        """Tell everybody who waits to come back: what made one group wait in vain would make each group wait, one after the other.

        A row that somebody holds is one site's: the others go on, unless another one meets a lock too, which is no row's then.
        """
        with self._wake:
            site = group[0].site if why is not None and is_locked(why) else None
            if site is not None:
                (before, at), self._held = self._held, (site, time.monotonic())
                if before not in (None, site) and time.monotonic() - at < _HELD_SECONDS:
                    site = None
            self._empty(group, site)

    def _empty(self, group: Sequence[_Unit], site: int | None = None) -> None:
        """Turn away a group and the queue, or what stands there of one site; whoever asks holds the queue."""
        away = [unit for unit in self._queue if site in (None, unit.site)]
        kept = [unit for unit in self._queue if site not in (None, unit.site)]
        self._queue.clear()
        self._queue.extend(kept)
        self._bytes = sum(unit.size for unit in kept)
        for unit in away:
            unit.done = True
        _answer([*group, *away], None)

    def _gather(self, enough: int) -> None:
        """Wait for work. Where many asked at once a moment ago, wait a moment for as many: a commit costs the same for all of them.

        Somebody alone never waits: then the last groups were of one. Who submits wakes this thread only when enough is there.
        """
        self._wanted = 1
        while not self._queue and not self._closing:
            self._wake.wait()
        if len(self._queue) < enough and not self._closing:
            self._wanted = enough
            self._wake.wait(_GATHER_SECONDS)
        self._wanted = _NEVER

    def _transactions(self, group: list[_Unit]) -> list[list[_Unit]]:
        """Return what becomes one transaction each. Where rows are locked, work of its own kind would lock out of order."""
        if self._database.engine == "sqlite" and not self._partners:
            return [group]
        bulk = [unit for unit in group if unit.work is None]
        works = [unit for unit in group if unit.work is not None]
        return [part for part in (bulk, *([works] if self._database.engine == "sqlite" else [[unit] for unit in works])) if part]

    def _take(self) -> list[_Unit]:
        """Take the units of the site at the head, in order, up to the limits; others keep their places."""
        site, size = self._queue[0].site, 0
        group: list[_Unit] = []
        others: list[_Unit] = []
        while self._queue and len(group) < self._group_limit and len(others) < self._group_limit and size < _GROUP_BYTES:
            unit = self._queue.popleft()
            if unit.site == site:
                group.append(unit)
                size += unit.size
            else:
                others.append(unit)
        self._queue.extendleft(reversed(others))
        return group

    def _commit(self, place: int, group: list[_Unit]) -> None:
        """Commit the group and answer; where that fails for reasons of a unit, commit in halves until it stands alone.

        Raises:
            Overloaded: the database cannot take it, nor anything else now; not everybody is answered.
        """
        try:
            results = self._attempt(place, group)
        except Overloaded:
            raise
        except Exception as error:  # whatever it is, somebody waits for an answer
            if len(group) == 1:
                self._answer(group, [self._rescued(place, group[0], error)])
            else:
                middle = len(group) // 2
                self._commit(place, group[:middle])
                self._commit(place, group[middle:])
            return
        self._answer(group, results)
        results.clear()  # an error comes with the frames that led to it, of which this is one

    def _rescued(self, place: int, unit: _Unit, error: Exception) -> Result:
        """Return what becomes of a unit that failed on its own.

        Raises:
            Overloaded: see `_commit`.
        """

        def write(payload: Any) -> Any:
            ((result, _),) = self._attempt(place, [_Unit(unit.site, payload, None, unit.size)])
            return result

        if unit.work is not None or unit.whole or not is_of_data(error):
            return None, error
        rescue = Rescue(self._bulk, write, self._trials[place])
        try:
            result = rescue.halved(unit.payload)
        except Overloaded:
            raise
        except Exception as another:  # a fault of ours, or of the database's: not for the payload to answer for
            return None, another
        finally:
            self._trials[place] = rescue.trials
        if result is None:
            return None, error
        log.warning("a part of a request cannot be written (%s); the rest of it is", reason(error))
        return result, None

    def _attempt(self, place: int, group: Sequence[_Unit]) -> list[Result]:
        """Commit the group and return what became of each unit, in order.

        Raises:
            Overloaded: see `_commit`.
            Exception: whatever else it fails of; nothing of it is written.
        """
        way = self._goes_elsewhere(group[0])
        self._began[place] = time.monotonic()
        try:
            results = self._written(place, group)
        except Exception as error:  # each driver has its own for an outage
            if not is_unavailable(error) or (group[0].work is not None and is_denied(error)):  # which is alone here, and stays so
                raise
            why = reason(error)
            if why != self._refused.get(way):  # of a long outage the beginning is enough: the log may be on the same disk
                log.warning("the database refused a commit of %d requests: %s", len(group), why)
            self._refused[way] = why
            raise Overloaded from error
        if self._refused.pop(way, None):
            log.warning("the database takes commits again")
        if group[0].site != self._held[0]:
            self._held = (None, 0.0)
        return results

    def _goes_elsewhere(self, unit: _Unit) -> bool:
        return bool(self._partners) and unit.work is None

    def _answer(self, group: Sequence[_Unit], results: Sequence[tuple[Any, BaseException | None]]) -> None:
        with self._wake:  # or somebody turns them away at the same time
            _answer(group, results)

    def _written(self, place: int, group: Sequence[_Unit]) -> list[Result]:
        site, payloads = group[0].site, [unit.payload for unit in group if unit.work is None]
        if payloads and self._partners:
            with contextlib.suppress(NoPartner):
                return [(result, None) for result in self._partners[place].commit(site, payloads)]
        works = [unit.work for unit in group if unit.work is not None]
        written, done = commit(self._database, self._bulk, site, payloads, works)
        return [(written.pop(), None) if unit.work is None else done.pop() for unit in reversed(group)][::-1]


def _answer(group: Sequence[_Unit], results: Sequence[tuple[Any, BaseException | None]] | None) -> None:
    """Wake everybody who still waits for one of these units, each event loop once. Without results, there will be none."""
    awaited: dict[asyncio.AbstractEventLoop, list[_Awaited]] = {}
    for index, unit in enumerate(group):
        if unit.answered:
            continue
        unit.result, unit.error = (None, Overloaded()) if results is None else results[index]
        unit.answered = True
        if isinstance(unit, _Awaited):
            awaited.setdefault(unit.loop, []).append(unit)
        elif isinstance(unit, _Waited):
            unit.wake()
    for loop, units in awaited.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile; nobody waits any more
            loop.call_soon_threadsafe(_resolve, units)


def _resolve(units: list[_Awaited]) -> None:
    for unit in units:
        unit.wake()
