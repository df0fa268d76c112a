"""The group commit: whoever writes hands its work to one thread, which commits what is waiting and only then answers.

Work is queued per site; what waits for one site becomes one transaction (no statement and no commit crosses sites). Kinds of work
that can share statements (`Bulk`) are handed over together; everything else runs one after another, each behind a savepoint, so
that one failure costs nobody else. If a bulk fails as a whole, it is run again one by one, and only the culprit fails.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from collector.storage.database import Connection, Database, is_transient, is_unavailable

log = logging.getLogger(__name__)

Work = Callable[[Connection], Any]
_ATTEMPTS = 6


class Overloaded(Exception):
    """The queue is full, the database cannot be reached, or the writer is shutting down; nothing was written."""


class Bulk(Protocol):
    """Writes many payloads of one site in shared statements and returns one result for each, in order."""

    def prepare(self, site: int, payloads: Sequence[Any]) -> None:
        """Do what needs a transaction of its own beforehand (allocating names)."""

    def write(self, tx: Connection, site: int, payloads: Sequence[Any]) -> Sequence[Any]:
        """Write them all in the given transaction."""


class _Unit:
    __slots__ = ("future", "payload", "site", "work")

    def __init__(self, site: int, payload: Any, work: Work | None) -> None:
        self.site = site
        self.payload = payload
        self.work = work
        self.future: Future[Any] = Future()


class Writer:
    """One thread that commits for a whole process."""

    def __init__(self, database: Database, bulk: Bulk, *, queue_limit: int, group_limit: int) -> None:
        self._database = database
        self._bulk = bulk
        self._queue_limit = queue_limit
        self._group_limit = group_limit
        self._queue: deque[_Unit] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="writer", daemon=True)
        self._thread.start()

    def record(self, site: int, payload: Any) -> Any:
        """Write a payload in the next bulk and return its result after the commit.

        Raises:
            Overloaded: nothing was written, try again later.
        """
        return self._submit(_Unit(site, payload, None))

    def run(self, site: int, work: Work) -> Any:
        """Run `work(transaction)` and return its result after the commit. An exception undoes this work alone.

        Raises:
            Overloaded: nothing was written, try again later.
        """
        return self._submit(_Unit(site, None, work))

    def waiting(self) -> int:
        """Return how many units wait."""
        return len(self._queue)

    def close(self) -> None:
        """Write what is queued, then stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _submit(self, unit: _Unit) -> Any:
        with self._wake:
            if self._closing or len(self._queue) >= self._queue_limit:
                raise Overloaded
            self._queue.append(unit)
            self._wake.notify()
        return unit.future.result()

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                if not self._queue:
                    return
                group = self._take()
            self._commit(group)

    def _take(self) -> list[_Unit]:
        """Take the units of the site at the head, in order, up to the limit; others keep their places."""
        site = self._queue[0].site
        group: list[_Unit] = []
        others: list[_Unit] = []
        while self._queue and len(group) < self._group_limit and len(others) < self._group_limit:
            unit = self._queue.popleft()
            (group if unit.site == site else others).append(unit)
        self._queue.extendleft(reversed(others))
        return group

    def _commit(self, group: list[_Unit]) -> None:
        """Commit the group and answer; where that fails for reasons of a unit, commit in halves until it stands alone."""
        try:
            results = self._attempt(group)
        except Exception as error:  # whatever it is, somebody waits for an answer
            if is_unavailable(error) and not is_transient(error):
                log.warning("the database refused a commit of %d requests: %s", len(group), type(error).__name__)
                self._fail(group, Overloaded())
            elif len(group) == 1:
                self._fail(group, error)
            else:
                middle = len(group) // 2
                self._commit(group[:middle])
                self._commit(group[middle:])
            return
        for unit, (result, failure) in zip(group, results, strict=True):
            if failure is None:
                unit.future.set_result(result)
            else:
                unit.future.set_exception(failure)

    def _attempt(self, group: list[_Unit]) -> list[tuple[Any, BaseException | None]]:
        for attempt in range(_ATTEMPTS):
            try:
                bulk = [unit.payload for unit in group if unit.work is None]
                if bulk:
                    self._bulk.prepare(group[0].site, bulk)
                with self._database.write() as tx:
                    return self._run(tx, group, bulk)
            except Exception as error:
                if attempt + 1 == _ATTEMPTS or not is_transient(error):
                    raise
        raise AssertionError("unreachable")

    def _run(self, tx: Connection, group: list[_Unit], bulk: list[Any]) -> list[tuple[Any, BaseException | None]]:
        written = iter(self._bulk.write(tx, group[0].site, bulk) if bulk else ())
        results: list[tuple[Any, BaseException | None]] = []
        for unit in group:
            if unit.work is None:
                results.append((next(written), None))
                continue
            try:
                with tx.savepoint():
                    results.append((unit.work(tx), None))
            except Exception as error:
                if is_transient(error) or is_unavailable(error):
                    raise
                results.append((None, error))
        return results

    @staticmethod
    def _fail(group: list[_Unit], error: BaseException) -> None:
        for unit in group:
            unit.future.set_exception(error)
