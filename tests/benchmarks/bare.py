"""What the collector is compared with: a Flask view that answers 204, and a loop that writes ready-made rows.

The loop is as quick as one Python program can be with the product's tables, indices, settings and statement for the totals: rows
are made beforehand, no id is looked up, no repeat is looked for, no visit and no activity is noted, nobody waits for an answer.
"""

import gc
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from flask import Flask
from psycopg import sql

from collector.domain.totals import COLUMNS, COUNT
from collector.storage.database import SQLITE_PRAGMAS
from collector.storage.slices import EVENT_COLUMNS
from tests.benchmarks.traffic import Batch


def flask_app() -> Flask:
    """Return the application that granian serves: a view that answers 204."""
    app = Flask(__name__)

    @app.post("/collect")
    def collect() -> tuple[str, int]:
        return "", 204

    return app


FLASK_COMMAND = (
    "granian", "--interface", "wsgi", "--factory", "--workers", "1", "--blocking-threads", "8", "--backlog", "2048", "--no-access-log",
    "--log-level", "warning", "tests.benchmarks.bare:flask_app",
)  # fmt: skip
"""As WSGI with eight threads, which is the quickest that granian serves a Flask view."""


@dataclass(frozen=True)
class Written:
    """What a loop did: events committed, their rate (1/s), CPU seconds of this process."""

    events: int
    rate: float
    cpu: float


def write(database_url: str, batches: Sequence[Batch], seconds: float) -> Written:
    """Write batch after batch, one durable transaction each, until they are used up or the time is over."""
    with _writing(database_url) as transaction:
        gc.collect()
        gc.disable()
        try:
            events, began, cpu = 0, time.perf_counter(), time.process_time()
            for batch in batches:
                transaction(batch)
                events += batch.count
                if time.perf_counter() - began > seconds:
                    break
            return Written(events, events / (time.perf_counter() - began), time.process_time() - cpu)
        finally:
            gc.enable()


@contextmanager
def _writing(database_url: str) -> Iterator[Callable[[Batch], None]]:
    if database_url.startswith("sqlite:///"):
        file = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None, cached_statements=512)
        try:
            for name, value in SQLITE_PRAGMAS.items():
                file.execute(f"PRAGMA {name} = {value}")
            yield lambda batch: _sqlite(file, batch)
        finally:
            file.close()
    else:
        with psycopg.connect(database_url, autocommit=True) as connection:
            yield lambda batch: _postgresql(connection, batch)


_INSERT_TOTALS = f"INSERT INTO totals ({', '.join(COLUMNS)}) "


def _sqlite(file: sqlite3.Connection, batch: Batch) -> None:
    """Two `executemany`: quicker than statements of many rows."""
    file.execute("BEGIN IMMEDIATE")
    for number, rows in batch.events.items():
        file.executemany(f"INSERT INTO events_{number} ({', '.join(EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))})", rows)
    file.executemany(_INSERT_TOTALS + f"VALUES ({', '.join('?' * len(COLUMNS))}) " + _for_sqlite(COUNT), batch.totals)
    file.execute("COMMIT")


def _postgresql(connection: psycopg.Connection[Any], batch: Batch) -> None:
    """COPY for the events, arrays for the totals: quicker than `executemany` for either."""
    with connection.transaction(), connection.cursor() as cursor:
        for number, rows in batch.events.items():
            with cursor.copy(_copy_sql(number)) as copy:
                copy.set_types(_EVENT_TYPES)
                for row in rows:
                    copy.write_row(row)
        cursor.execute(_ARRAYS, [list(column) for column in zip(*batch.totals, strict=True)])


_EVENT_TYPES = ("int8", "int8", "bytea", "int8", "int8", "int8", "int2", "bytea", "text", "text")
_ARRAYS = (
    f"{_INSERT_TOTALS} SELECT * FROM unnest({', '.join(['%s::bigint[]'] * len(COLUMNS))}) "
    + COUNT.replace("lesser(", "least(").replace("larger(", "greatest(")
).encode()


def _copy_sql(number: int) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, EVENT_COLUMNS))
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(f"events_{number}"), columns)


def _for_sqlite(text: str) -> str:
    return text.replace("lesser(", "min(").replace("larger(", "max(")
