"""The schema, as numbered steps that only ever move forwards. A released step is never edited; a change is a new step.

Each step is a module `mNNNN_what` with `statements(engine)` or, where it has to look first, `apply(tx)`. All missing steps run in one
transaction under a lock, and are recorded. A step leaves collectors of the version before able to write (new columns take NULL, nothing
is renamed), so that many collectors are replaced one after the other.

On PostgreSQL a step may want a table that somebody reads for long. Whoever comes behind it in the table's queue waits too, so it
waits a moment only, lets the others pass, and tries again.
"""

import contextlib
import importlib
import logging
import pkgutil
import time
from collections.abc import Iterator
from types import ModuleType

import psycopg

from collector.storage import time_limits
from collector.storage.database import Connection, Database, Engine

log = logging.getLogger(__name__)

_LOCK = 7_305_808_869_229_538  # PostgreSQL advisory lock; any fixed number

_LEDGER = "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)"
_LEDGERS = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'",
    "postgresql": "SELECT 1 WHERE to_regclass('schema_migrations') IS NOT NULL",
}
_LOCK_WAIT = "300ms"
_TELL_SECONDS = 10
"""How often who waits says what for; it tries about once a second."""
_PAUSE_SECONDS = 1.0
TRIES = 75
"""How often the steps ask for tables that others are using: a minute and a half in all."""


class SchemaError(Exception):
    """The schema is of a newer version, or cannot be changed now; the message says which."""


def steps() -> list[tuple[int, ModuleType]]:
    """Return every migration with its number, in order."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name.startswith("m"))
    return [(int(name[1:5]), importlib.import_module(f"{__name__}.{name}")) for name in names]


def pending(connection: Connection) -> list[int]:
    """Return the numbers of the steps that have not run yet.

    Raises:
        SchemaError: steps have run that this version does not know.
    """
    done: set[int] = set()
    if connection.row(_LEDGERS[connection.engine]):
        done.update(row[0] for row in connection.rows("SELECT version FROM schema_migrations"))
    known = [number for number, _ in steps()]
    if max(done, default=0) > known[-1]:
        raise SchemaError(f"it is of a newer version of Leadlight (schema {max(done)}; this version knows {known[-1]})")
    return [number for number in known if number not in done]


def are_begun(connection: Connection) -> bool:
    """Say whether any step has run: without one the database is an empty one, or somebody else's."""
    return len(pending(connection)) < len(steps())


def newest_at(connection: Connection) -> int:
    """Return when the newest step ran, in ms."""
    return int(connection.value("SELECT max(applied_at) FROM schema_migrations"))


def told(connection: Connection) -> list[str]:
    """Return a line for each step that has not run yet: its number and what it is about."""
    missing = pending(connection)
    return [f"{number:4}  {str(module.__doc__).splitlines()[0]}" for number, module in steps() if number in missing]


def migrate(database: Database, now_ms: int, *, tries: int = TRIES) -> list[int]:
    """Bring the schema up to date and return the numbers of the steps that ran. Safe from several processes at once.

    Raises:
        SchemaError: the database is of a newer version, or its encoding cannot hold every text, or a table was in use whenever it was
            asked for.
    """

    def work(tx: Connection) -> list[int]:
        if tx.engine == "postgresql":
            if (encoding := tx.value("SHOW server_encoding")) != "UTF8":
                raise SchemaError(f"its encoding is {encoding}: make one by CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0")
            time_limits.lift_of_statements(tx)
            _wait_for_turn(tx)
            tx.run(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
        missing = pending(tx)
        if missing:
            tx.run(_LEDGER)
            _run_patiently(tx, missing, now_ms, tries)
        return missing

    return database.transact(work)


def _wait_for_turn(tx: Connection) -> None:
    """Wait for whoever is at the steps now, and say so every so often: it may be about to end, or hang."""
    tx.run(f"SET LOCAL lock_timeout = '{_TELL_SECONDS}s'")
    while True:
        with contextlib.suppress(psycopg.errors.LockNotAvailable), tx.savepoint():
            tx.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
            return
        log.warning("another process is bringing the schema up to date: waiting for it")


def _run_patiently(tx: Connection, numbers: list[int], now_ms: int, tries: int) -> None:
    """Run steps, as one; where a table is not to be had, take back what was done, so that nobody waits for it, and try again.

    The lock that keeps other migrating processes away is held meanwhile: they must not take turns at keeping everybody waiting.
    """
    for attempt in range(tries):
        if attempt:
            if attempt % _TELL_SECONDS == 1:
                log.warning("somebody uses a table that is to be changed: it is tried again, %d times more", tries - attempt)
            time.sleep(_PAUSE_SECONDS)
        with contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected), tx.savepoint():
            if tx.engine == "postgresql" and tx.value("SELECT to_regclass('identities')") is not None:
                # Writers ask for it before anything else: whoever has it meets none that holds one table and waits for another.
                tx.run("LOCK TABLE identities IN ACCESS EXCLUSIVE MODE")
            run_steps(tx, numbers, now_ms)
            return
    raise SchemaError("a long-running statement holds its tables: end that (a backup? a query?) or try again later")


def run_steps(tx: Connection, numbers: list[int], now_ms: int) -> None:
    """Run these steps and note that they ran."""
    for number, module in steps():
        if number in numbers:
            if hasattr(module, "apply"):
                module.apply(tx)
            else:
                for statement in translated(module.statements(tx.engine), tx.engine):
                    tx.run(statement)
            tx.run("INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)", (number, now_ms))


def translated(statements: list[str], engine: Engine) -> Iterator[str]:
    """Yield the statements with the engine's words: BYTES, STRING (compared by code point) and CLUSTERED (rows in key order)."""
    words = (
        {"BYTES": "BLOB", "STRING": "TEXT", "CLUSTERED": "WITHOUT ROWID"}
        if engine == "sqlite"
        else {"BYTES": "BYTEA", "STRING": 'TEXT COLLATE "C"', "CLUSTERED": ""}
    )
    for statement in statements:
        text = statement
        for word, replacement in words.items():
            text = text.replace(word, replacement)
        yield text
