"""What went wrong between us and the database: something that passes when the transaction is run again, an outage, or a fault of ours."""

import random
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
from playhouse.pool import MaxConnectionsExceeded

from collector.values.clock import EARLIEST

_LOCKED = "55P03"  # a lock was not to be had in time
_RETRIED_STATES = {"40001", "40P01", _LOCKED}  # serialisation failure, deadlock
_BROUGHT = ("_pkey", "identities_value")
_UNAVAILABLE_CLASSES = {"08", "53", "58"}  # connection, resources, the system below the server
# read-only, idle too long (in a transaction, and outside), lock not to be had, shut down, crashed, starting
_UNAVAILABLE_STATES = {"25006", "25P03", "57P05", "55P03", "57P01", "57P02", "57P03"}
_OUT_OF_TIME_STATES = {"57014", "25P04"}  # a statement, or a transaction, took longer than its role may; or somebody cancelled it
_DENIED = "42501"  # the role lacks a right, maybe on one table alone
_DATA_CLASSES = {"22", "23"}  # data, integrity
_RAISED = "P0001"  # by a trigger
_DATA_SQLITE = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
_UNAVAILABLE_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}


class Replaced(Exception):
    """The file that is open has no name any more: somebody put another in its place, or took it away. What is written to it is lost."""


class ClockUnset(Exception):
    """The machine's clock says a time before there was this program. What was stored by it would be of then, and gone at once."""


def require_set(now_ms: int) -> None:
    """Make sure that somebody has set the clock.

    Raises:
        ClockUnset: nobody has.
    """
    if now_ms < EARLIEST:
        raise ClockUnset(f"the machine's clock says {datetime.fromtimestamp(now_ms / 1_000, UTC):%Y-%m-%d}")


class RunAgain(Exception):
    """What a transaction relied on has changed (a slice was closed): run again from the start, it finds its way."""


class ElsewhereError(Exception):
    """A transaction failed in another process, which says why: what `reason` and the questions below told it there."""

    def __init__(self, said: str, *, unavailable: bool, locked: bool = False, of_data: bool = False) -> None:
        super().__init__(said)
        self.unavailable = unavailable
        self.locked = locked
        self.of_data = of_data


def back_off(attempt: int) -> None:
    """Wait a little before a transaction that met another is run again, each at its own time."""
    time.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311 (no secret)


def is_transient(error: BaseException) -> bool:
    """Say whether the same transaction may succeed when it is run again at once."""
    return any(isinstance(cause, RunAgain) or (isinstance(cause, psycopg.Error) and _met_another(cause)) for cause in _causes(error))


def _met_another(error: psycopg.Error) -> bool:
    """Say whether a transaction met another one: over rows, or both brought the same one, of which the second now finds the first's.

    Row ids that both minted are that too, once in a million.
    """
    key = isinstance(error, psycopg.errors.UniqueViolation) and (error.diag.constraint_name or "").endswith(_BROUGHT)
    return key or error.sqlstate in _RETRIED_STATES


def is_unavailable(error: BaseException) -> bool:
    """Say whether the database, and not the statement, is at fault: an outage, or its role has not enough time or rights.

    The same may succeed later. Where others wait for what comes next, an outage keeps them waiting too (`is_outage`); what took too long
    or was denied need not.
    """
    return any(_says_outage(cause) or _is_out_of_time(cause) or _is_denied(cause) for cause in _causes(error))


def is_denied(error: BaseException) -> bool:
    """Say whether the role lacks a right to what was asked for; to everything else it may have one."""
    return any(map(_is_denied, _causes(error)))


def is_outage(error: BaseException) -> bool:
    """Say whether nothing else can be done now either: the database is unreachable, full, read-only, locked, out of connections.

    The drivers' classes do not say: psycopg calls a value too large for an index an OperationalError, sqlite3 a missing table. Any of
    the causes counts: SQLite undoes a transaction by itself where its disk is full, and undoing it once more fails for another reason.
    """
    return outage(error) is not None


def is_locked(error: BaseException) -> bool:
    """Say whether nothing is wrong but that somebody else holds a row for too long."""
    return any(_says_locked(cause) for cause in _causes(error))


def is_of_data(error: BaseException) -> bool:
    """Say whether what was to be written is at fault, by what the database or Python says of it: the same will fail again, and other
    data will not. Of anything else (a slice that was closed, a fault of ours) that is not known.
    """
    return not is_unavailable(error) and not is_transient(error) and any(_says_data(cause) for cause in _causes(error))


def outage(error: BaseException) -> BaseException | None:
    """Return what of an exception and its causes says that it is an outage."""
    return next((cause for cause in _causes(error) if _says_outage(cause)), None)


def reason(error: BaseException) -> str:
    """Return what to log where the database is at fault: what it calls that, and nothing that it quotes."""
    cause = outage(error) or next((one for one in _causes(error) if _is_out_of_time(one) or _is_denied(one)), error)
    said = {sqlite3.Error: "sqlite_errorname", psycopg.Error: "sqlstate"}
    code = next((getattr(cause, name, None) for kind, name in said.items() if isinstance(cause, kind)), None)
    if isinstance(cause, Replaced | ClockUnset | ElsewhereError):
        return str(cause)
    return f"{type(cause).__name__} {code}" if code else type(cause).__name__


def _is_out_of_time(error: BaseException) -> bool:
    return isinstance(error, psycopg.Error) and error.sqlstate in _OUT_OF_TIME_STATES


def _is_denied(error: BaseException) -> bool:
    return isinstance(error, psycopg.Error) and error.sqlstate == _DENIED


def _says_locked(error: BaseException) -> bool:
    return error.locked if isinstance(error, ElsewhereError) else isinstance(error, psycopg.Error) and error.sqlstate == _LOCKED


def _says_data(error: BaseException) -> bool:
    if isinstance(error, ElsewhereError):
        return error.of_data
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "")[:2] in _DATA_CLASSES or error.sqlstate == _RAISED
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DATA_SQLITE
    return isinstance(error, ValueError | ArithmeticError)


def _says_outage(error: BaseException) -> bool:
    if isinstance(error, ElsewhereError):
        return error.unavailable
    if isinstance(error, psycopg.Error):
        state = error.sqlstate
        if state is None:  # not said by the server, so there was none to say it
            return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_STATES
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _UNAVAILABLE_SQLITE
    return isinstance(error, MaxConnectionsExceeded | Replaced | ClockUnset)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those it was made of (peewee wraps the drivers')."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = getattr(cause, "orig", None) or cause.__cause__ or cause.__context__
