"""The schema, as numbered steps that only ever move forwards. A released step is never edited; a change is a new step.

Each step is a module `mNNNN_what` with `statements(engine)` or, where it has to look first, `apply(tx)`. All missing steps run in one
transaction under a lock, and are recorded. A step leaves collectors of the version before able to write (new columns take NULL, nothing
is renamed), so that many collectors are replaced one after the other.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from collector.storage.database import Connection, Database, Engine

_LOCK = 7_305_808_869_229_538  # PostgreSQL advisory lock; any fixed number

_LEDGER = "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)"


def steps() -> list[tuple[int, ModuleType]]:
    """Return every migration with its number, in order."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name.startswith("m"))
    return [(int(name[1:5]), importlib.import_module(f"{__name__}.{name}")) for name in names]


def pending(connection: Connection) -> list[int]:
    """Return the numbers of the steps that have not run yet."""
    connection.run(_LEDGER)
    done = {row[0] for row in connection.rows("SELECT version FROM schema_migrations")}
    return [number for number, _ in steps() if number not in done]


def migrate(database: Database, now_ms: int) -> list[int]:
    """Bring the schema up to date and return the numbers of the steps that ran. Safe from several processes at once."""

    def work(tx: Connection) -> list[int]:
        if tx.engine == "postgresql":
            tx.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        missing = pending(tx)
        for number, module in steps():
            if number in missing:
                _apply(tx, module)
                tx.run("INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)", (number, now_ms))
        return missing

    return database.transact(work)


def _apply(tx: Connection, module: ModuleType) -> None:
    if hasattr(module, "apply"):
        module.apply(tx)
        return
    for statement in translated(module.statements(tx.engine), tx.engine):
        tx.run(statement)


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
