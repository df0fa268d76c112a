"""One commit for what many asked for: payloads that share statements (`Bulk`), and work of other kinds behind savepoints."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from collector.storage.database import Connection, Database
from collector.storage.faults import RunAgain, back_off, is_of_data, is_transient, is_unavailable

Work = Callable[[Connection], Any]
Result = tuple[Any, BaseException | None]
"""What a piece of work returned, or what it failed of; that undid it alone."""

_ATTEMPTS = 6
_MOST_FAILURES = 16
"""So many parts of a payload may fail before the first one that does not."""
TRIALS = 200
"""How often parts of payloads are tried in one turn of the writer, for which everybody else waits: enough for some that are poisonous."""


class Bulk(Protocol):
    """Writes many payloads of one site in shared statements and returns one result for each, in order."""

    def prepare(self, site: int, payloads: Sequence[Any]) -> Any:
        """Do what needs a transaction of its own beforehand (allocating names), and return what `write` needs of it."""

    def write(self, tx: Connection, site: int, payloads: Sequence[Any], prepared: Any) -> Sequence[Any]:
        """Write them all in the given transaction. It may be undone, and asked for again."""

    def committed(self, site: int, results: Sequence[Any]) -> None:
        """Hear that these results of `write` are committed."""

    def halves(self, payload: Any) -> tuple[Any, Any] | None:
        """Return a payload as two that come to the same, one after the other; None where it is one thing."""

    def joined(self, payload: Any, results: Sequence[Any]) -> Any:
        """Return the result of a payload by those of its halves; None for one that failed. One at least did not."""


class NoPartner(Exception):
    """No process of its own commits this: whoever asked does."""


class Partner(Protocol):
    """Commits payloads in a process of its own, so that serving and writing each have a processor."""

    def commit(self, site: int, payloads: Sequence[Any]) -> Sequence[Any]:
        """Return one result for each payload, in order, once they are committed.

        Raises:
            ElsewhereError: they are not, or nobody knows; it says why.
            NoPartner: none is to be had, and nothing is wrong with them or the database; were they committed, their ids tell.
        """

    def watch(self) -> None:
        """See to it that nobody waits for the process without end; asked every now and then, by another thread than waits."""

    def close(self) -> None:
        """End the process."""


def commit(
    database: Database, bulk: Bulk, site: int, payloads: Sequence[Any], works: Sequence[Work] = ()
) -> tuple[list[Any], list[Result]]:
    """Write payloads and work in one transaction, again where it met another one; return their results once they are committed."""
    for attempt in range(_ATTEMPTS):
        try:
            moves = database.moves
            prepared = bulk.prepare(site, payloads) if payloads else None
            with database.write(hurry=True) as tx:
                _check_server(database, moves)
                written = list(bulk.write(tx, site, payloads, prepared)) if payloads else []
                done = [_behind_savepoint(tx, work) for work in works]
        except Exception as error:  # each driver has its own for what passes
            if attempt + 1 == _ATTEMPTS or is_unavailable(error) or not is_transient(error):
                raise
            back_off(attempt)
        else:
            if payloads:
                bulk.committed(site, written)
            return written, done
    raise AssertionError("unreachable")


class Rescue:
    """Writes what can be written of a payload that failed on its own: in halves, so that a poisonous item costs only itself."""

    def __init__(self, bulk: Bulk, write: Callable[[Any], Any], trials: int) -> None:
        """`write(payload)` commits one and returns its result. It is called at most `trials` times."""
        self._bulk = bulk
        self._write = write
        self.trials = trials
        """How many are left."""
        self._failures = 0
        self._written = False

    def halved(self, payload: Any) -> Any:
        """Return the result of a payload that failed; None where nothing of it can be written, or the trials do not reach.

        Then it is not told to be the payload's fault. What of it was written is known by its ids when it is sent again.

        Raises:
            Exception: what `write` said of anything else than the data. What was written before that stays.
        """
        whole = _Part(payload)
        level = [whole]
        while level:  # both halves before the quarters: one good part shows that the others are at fault
            failed: list[_Part] = []
            for part in level:
                part.halves = [_Part(half) for half in self._bulk.halves(part.payload) or ()]
                for half in part.halves:
                    if self.trials == 0 or (not self._written and self._failures == _MOST_FAILURES):
                        return None
                    if not self._try(half):
                        failed.append(half)
            level = failed
        return self._joined(whole) if self._written else None

    def _try(self, part: "_Part") -> bool:
        self.trials -= 1
        try:
            part.result = self._write(part.payload)
        except Exception as error:  # each driver has its own for what it refuses
            if not is_of_data(error):
                raise
            self._failures += 1
            return False
        self._written = True
        return True

    def _joined(self, part: "_Part") -> Any:
        if part.result is None and part.halves:
            results = [self._joined(half) for half in part.halves]
            if any(result is not None for result in results):
                part.result = self._bulk.joined(part.payload, results)
        return part.result


class _Part:
    """A part of a payload, and what became of it."""

    __slots__ = ("halves", "payload", "result")

    def __init__(self, payload: Any) -> None:
        self.payload = payload
        self.halves: list[_Part] = []
        self.result: Any = None


def _check_server(database: Database, moves: int) -> None:
    """See that a transaction is on the server for which it was prepared."""
    if database.moves != moves:
        raise RunAgain


def _behind_savepoint(tx: Connection, work: Work) -> Result:
    try:
        with tx.savepoint():
            return work(tx), None
    except Exception as error:  # whatever it is, it is this work's fault alone
        if is_transient(error) or is_unavailable(error):
            raise
        return None, error
