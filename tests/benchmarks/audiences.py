"""How quickly everybody is counted whom a query describes, beside DuckDB over the same rows in one run.

    python -m tests.benchmarks.audiences [--engine sqlite] [--scale 0.1] [--rounds 20] [--rate 1000] ...

Needs DuckDB: `pip install duckdb`. The query is "X more than twice, last X more than 5 days ago, never Y, seen within 30 days", for a
rare and for a common X. It is answered in turn by the columns in memory, by DuckDB over copies of the same rows sorted by name, and by
SQL; first on a database at rest, then while that many events a second are written through this process's own writer. The columns follow
every commit; DuckDB's copies stand still. At rest all three must say the same, and afterwards columns and SQL again.

At last it is asked of some of these people which of fifty live messages they may be shown (`tests.benchmarks.decisions`).

Databases are kept in a folder between runs, as for the benchmarks of ingest. The table is printed as Markdown.
"""

import argparse
import itertools
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np

from collector.domain import visits
from collector.domain.column_sources import EVENT as EVENT_COLUMN
from collector.domain.column_sources import PEOPLE, Column
from collector.domain.columns import Columns
from collector.domain.identities import LEAD, NewIdentity
from collector.domain.names import EVENT
from collector.domain.secrets import digest
from collector.domain.selection import select
from collector.domain.sites import Site
from collector.domain.submissions import Event, Submission
from collector.services import Services, build
from collector.settings import load_settings
from collector.values.clock import DAY, system_clock
from collector.values.queries import parse
from collector.values.query_tree import Node
from tests.benchmarks import traffic
from tests.benchmarks.content import METADATA, NAMES, PAGES, uuid7
from tests.benchmarks.decisions import among
from tests.benchmarks.engines import Engine, default_folder, open_engine
from tests.benchmarks.population import RETENTION_DAYS, Population, Size
from tests.benchmarks.stores import Stores

CASES = {"rare X": "cancelled-plan", "common X": "opened-report"}
NEVER = "upgraded-plan"
TOGETHER = 20
"""Events in one commit while events are written: what waits while the one before is committed."""
SQL_ROUNDS = 3
_MEGABYTE = 1_000_000


@dataclass
class Row:
    """What was measured of one case: milliseconds, each time."""

    engine: str
    case: str
    people: int
    cold: float = 0.0
    at_rest: dict[str, list[float]] = field(default_factory=dict)
    written_to: dict[str, list[float]] = field(default_factory=dict)


class Bench:
    """One engine's run."""

    def __init__(self, services: Services, population: Population, given: argparse.Namespace) -> None:
        self.services = services
        self.population = population
        self.given = given
        (self.site,) = services.sites.all()
        self.duck = Duck(services, self.site, [*CASES.values(), NEVER])
        self.rows: list[Row] = []
        self.rate = 0.0
        self.memory: tuple[float, float] = (0.0, 0.0)

    def run(self, engine: str) -> None:
        """Measure everything."""
        for case, name in CASES.items():
            self._cold(engine, case, name)
        before = _resident()
        for row in self.rows:
            self._columns(row)
        held = self.services.columns.size()
        self.memory = held / _MEGABYTE, (_resident() - before) / _MEGABYTE
        for row in self.rows:
            self._measure(row, row.at_rest)
            self._agree(row, self._duck(row))
        with Traffic(self.services, self.site, self.population, self.given.rate) as sent:
            sent.wait_for(self.given.rate)
            for row in self.rows:
                self._measure(row, row.written_to)
        self.rate = sent.rate
        for row in self.rows:
            self._agree(row)

    def _cold(self, engine: str, case: str, name: str) -> None:
        """Measure how long it takes in a process that has just started until the columns answer; SQL does meanwhile."""
        columns = Columns(self.services.database, self.services.names, system_clock, 2_000 * _MEGABYTE)
        row = Row(engine, case, 0)
        try:
            row.cold, row.people = _timed(lambda: _patiently(lambda: columns.count(self.site, query(name), system_clock())))
        finally:
            columns.close()
        self.rows.append(row)

    def _measure(self, row: Row, into: dict[str, list[float]]) -> None:
        """Ask in turn, with a pause in which there is something to catch up on."""
        random = Random(1)
        for turn in range(self.given.rounds):
            for who, ask in (("columns", self._columns), ("DuckDB", self._duck), ("SQL", self._sql)):
                if who != "SQL" or turn < SQL_ROUNDS:
                    time.sleep(random.uniform(0, 0.3))
                    into.setdefault(who, []).append(_timed(lambda ask=ask: ask(row))[0])

    def _agree(self, row: Row, *others: int) -> None:
        now = system_clock()
        counts = {self.services.columns.count(self.site, query(CASES[row.case]), now), self._sql(row, now), *others}
        if len(counts) > 1:
            sys.exit(f"{row.engine}, {row.case}: they do not agree: {counts}")

    def _columns(self, row: Row) -> int:
        return _patiently(lambda: self.services.columns.count(self.site, query(CASES[row.case]), system_clock()))

    def _sql(self, row: Row, now_ms: int | None = None) -> int:
        services, now = self.services, now_ms or system_clock()
        with (
            services.database.read() as connection,
            select(connection, self.site, services.names, query(CASES[row.case]), now, services.settings.retention) as (found, _),
        ):
            return found.count(connection)

    def _duck(self, row: Row) -> int:
        return self.duck.count(CASES[row.case], system_clock())


class Duck:
    """DuckDB in memory, with the people and the totals of a few events, sorted by name."""

    def __init__(self, services: Services, site: Site, events: list[str]) -> None:
        import duckdb

        self.version = duckdb.__version__
        self._connection = duckdb.connect()
        self._numbers = {name: services.names.number(site.id, EVENT, name) or 0 for name in events}
        with services.database.snapshot() as connection:
            people = Column(PEOPLE).read_all(connection, site.id)
            totals = {
                number: Column((EVENT_COLUMN, number)).read_all(connection, site.id)
                for number in sorted(services.names.number(site.id, EVENT, name) or 0 for name in NAMES)
            }
        self._table("people", {name: people[name] for name in ("id", "ended", "here")}, "id")
        whole = {name: np.concatenate([rows[name] for rows in totals.values()]) for name in ("id", "count", "last", "first")}
        whole["name"] = np.concatenate([np.full(len(rows), number) for number, rows in totals.items()])
        self._table("totals", whole, "name, id")

    def _table(self, table: str, arrays: dict[str, Any], order: str) -> None:
        self._connection.register("arrays", {name: np.ascontiguousarray(array) for name, array in arrays.items()})
        self._connection.execute(f"CREATE TABLE {table} AS SELECT * FROM arrays ORDER BY {order}")
        self._connection.unregister("arrays")

    def count(self, event: str, now_ms: int) -> int:
        """Return how many people the query describes."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM people p JOIN totals x ON x.name = ? AND x.id = p.id "
            "WHERE x.count > 2 AND x.last < ? AND NOT EXISTS (SELECT 1 FROM totals y WHERE y.name = ? AND y.id = p.id AND y.count > 0) "
            "AND CASE WHEN p.ended > ? THEN p.here ELSE p.ended END BETWEEN ? AND ?",
            (self._numbers[event], now_ms - 5 * DAY, self._numbers[NEVER], now_ms - visits.IDLE, now_ms - 30 * DAY + 1, now_ms),
        ).fetchone() or (0,)
        return int(count)


class Traffic:
    """Events written through this process's writer by a thread of their own, so many a second."""

    def __init__(self, services: Services, site: Site, population: Population, rate: int) -> None:
        self._services = services
        self._site = site
        self._posts = itertools.cycle(traffic.posts(population, 1, 60 * rate, "audiences"))
        self._population = population
        self._every = TOGETHER / rate
        self._sent = 0
        self._enough = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> "Traffic":
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self.rate = self._sent / (time.monotonic() - self._began)

    def wait_for(self, events: int) -> None:
        """Return when so many were acknowledged."""
        with self._enough:
            self._enough.wait_for(lambda: self._sent >= events)

    def _write(self) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(due - time.monotonic(), 0)):
            outcomes = self._services.writer.record(self._site.id, [self._submission(next(self._posts)) for _ in range(TOGETHER)])
            assert all(outcome.events == [True] for outcome in outcomes)
            due += self._every
            with self._enough:
                self._sent += TOGETHER
                self._enough.notify()

    def _submission(self, post: traffic.Post) -> Submission:
        lead, secret = self._population.lead(post.lead)
        (sent,) = post.events
        now = system_clock()
        page, viewed = PAGES[sent.page]
        metadata = METADATA[sent.name] if sent.name else viewed
        event = Event(uuid7(now, Random().getrandbits(74)), NAMES[sent.name], now, post.visit, page, metadata)
        key = (LEAD, lead)
        return Submission(owner=key, lead=NewIdentity(key, digest(secret)), events=[event])


def query(event: str) -> Node:
    """Return the query with this X."""
    rules = [
        {"event": event, "field": "count", "operator": ">", "value": 2},
        {"event": event, "field": "last", "operator": "more_than_days_ago", "value": 5},
        {"event": NEVER, "field": "count", "operator": "=", "value": 0},
        {"field": "last_seen_at", "operator": "less_than_days_ago", "value": 30},
    ]
    return parse({"operator": "AND", "value": rules}, retention_days=RETENTION_DAYS)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1_000, result


def _patiently(ask: Callable[[], int | None]) -> int:
    while (count := ask()) is None:
        time.sleep(0.01)
    return count


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


@contextmanager
def serving(folder: Path, engine: Engine, given: argparse.Namespace) -> Iterator[tuple[Services, Population]]:
    """Open a copy of the grown site's database as a collector does."""
    stores = Stores(folder, engine, Size.of(given.scale), say)
    population = Population(stores.size())
    full = stores.full(population)
    say(f"{engine.name}: copying the full database")
    engine.copy(full.database, "work_audiences")
    settings = load_settings(
        {"LEADLIGHT_CONFIG": str(folder / "leadlight.toml")},
        database_url=engine.url("work_audiences"),
        retention_days=RETENTION_DAYS,
        columns_megabytes=2_000,
    )
    services = build(settings)
    try:
        yield services, population
    finally:
        services.close()


def report(benches: list[Bench], versions: list[str], given: argparse.Namespace) -> str:
    """Return the table as Markdown."""
    people = benches[0].population.size.people
    lines = [
        f"Exact count of everybody with X more than twice, last X more than 5 days ago, never Y, seen within 30 days; {people:,} people,",
        f"{benches[0].population.size.totals:,} totals. Milliseconds, medians of {given.rounds} rounds (SQL: {SQL_ROUNDS}) in which all",
        "are asked in turn; in brackets the 90th percentile.",
        f"{os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}, DuckDB {benches[0].duck.version}, "
        f"{', '.join(versions)}.",
        "",
        "| engine | X | people | until they are loaded | columns | DuckDB | SQL | columns / DuckDB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for bench in benches:
        for row in bench.rows:
            for title, times in (("", row.at_rest), (f", {bench.rate:,.0f} events/s", row.written_to)):
                ratio = median(times["columns"]) / median(times["DuckDB"])
                cells = [_spread(times[who]) for who in ("columns", "DuckDB", "SQL")]
                first = "" if title else f"{row.cold:,.0f}"
                lines.append(f"| {row.engine}{title} | {row.case} | {row.people:,} | {first} | {' | '.join(cells)} | {ratio:.2f} |")
    for bench in benches:
        arrays, resident = bench.memory
        each = 1_000_000 / people
        lines += [
            "",
            f"Memory of a process for these columns, {bench.rows[0].engine}: {arrays:,.0f} MB of arrays, {resident:,.0f} MB more resident; "
            f"{arrays * each:,.0f} MB of arrays for a million people.",
        ]
    return "\n".join(lines)


def _spread(times: list[float]) -> str:
    return f"{median(times):,.1f} ({sorted(times)[int(len(times) * 0.9) - 1]:,.1f})"


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def options() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.audiences", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=1_000, help="events written a second")
    parser.add_argument("--scale", type=float, default=1.0, help="part of a million people, 20 million events and 10 million totals")
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="where databases are kept, on a real disk (default: %(default)s)"
    )
    return parser


def main() -> None:
    """Measure and report."""
    given = options().parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    benches, versions, decided = [], [], []
    for name in ("sqlite", "postgresql") if given.engine == "both" else (given.engine,):
        with open_engine(name, folder) as engine, serving(folder, engine, given) as (services, population):
            versions.append(engine.version())
            bench = Bench(services, population, given)
            bench.run(name)
            benches.append(bench)
            decided.append(f"| {name} | {among(services, population)} |")
    print(report(benches, versions, given))
    print("\n| one of them, 50 live messages | CPU, us | p99 | waits | offered |\n|---|---:|---:|---:|---:|", *decided, sep="\n")


if __name__ == "__main__":
    main()
