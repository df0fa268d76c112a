"""What it costs to keep what was decided: written every ten seconds, kept for thirty days, dropped at night.

    python -m tests.benchmarks.kept [--rows 1000000] [--views 1000]

The table is measured empty and full (as many rows as given, spread evenly over people and over the days they are kept). Each of so many
page views, of as many people, decides five messages: written once, when each makes a row, and once more within the hour, when each is
added to one. Dropped is what has been kept for a day too long, a thirtieth of the full table. CPU is that of this process, for PostgreSQL
together with its server's; a transaction is what others may wait for.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from collector.domain import decisions
from collector.domain.decisions import KEPT, Decisions
from collector.domain.submissions import Submission
from collector.storage.database import Database
from collector.values.clock import DAY, HOUR
from tests.benchmarks.load import cpu_seconds
from tests.support.clock import FakeClock
from tests.support.postgres import new_database, postgres_server
from tests.support.world import World, lead
from tests.support.world import world as start

MESSAGES = 5
COLUMNS = ("site", "identity", "message", "outcome", "hour", "times", "last_at")


class Work:
    """What was done: rows, CPU (us), and how long each transaction took (ms)."""

    def __init__(self, database: Database, cpu: Callable[[], float]) -> None:
        self._database = database
        self._cpu = cpu
        self.rows = 0
        self.cpu = 0.0
        self.transactions: list[float] = []

    def transact(self, work: Any) -> Any:
        """Run a transaction and note how long it takes."""
        began = time.perf_counter()
        done = self._database.transact(work)
        self.transactions.append((time.perf_counter() - began) * 1e3)
        return done

    @contextmanager
    def measured(self, rows: int = 0) -> Iterator[None]:
        """Note the CPU of what is done inside."""
        self.rows += rows
        began = self._cpu()
        yield
        self.cpu += (self._cpu() - began) * 1e6

    def __str__(self) -> str:
        times = sorted(self.transactions)
        return f"{self.cpu / max(self.rows, 1):.0f} | {times[len(times) // 2]:.1f} | {times[-1]:.0f}"


def people(world: World, count: int) -> list[int]:
    """Make visitors, and return their identities."""
    made = []
    for start_at in range(0, count, 200):
        sent = [
            Submission(owner=one.key, lead=one, events=[world.event()])
            for one in (lead(f"visitor-{number}") for number in range(start_at, min(start_at + 200, count)))
        ]
        made += [outcome.person for outcome in world.services.writer.record(world.site.id, sent)]
    return [person for person in made if person is not None]


def fill(world: World, identities: list[int], count: int) -> None:
    """Write so many rows of other people, over the days they are kept and the one after."""
    draw = Random(1)
    low, high, now = min(identities), max(identities), world.clock()
    hours = (KEPT + DAY) // HOUR
    for begin in range(0, count, 100_000):
        rows = {
            (
                world.site.id,
                draw.randint(low, high),
                number % 50,
                ("offered", "caps", "frequency")[number % 3],
                now // HOUR - number % hours,
            )
            for number in range(begin, min(begin + 100_000, count))
        }
        whole = [(*row, 1, row[4] * HOUR) for row in sorted(rows)]
        with world.services.written.write() as tx:
            for place in range(0, len(whole), 10_000):  # a server ends a transaction that is silent for long
                tx.insert("decisions", COLUMNS, whole[place : place + 10_000], "ON CONFLICT DO NOTHING")
    if world.services.database.engine == "postgresql":
        world.services.database.run_alone("VACUUM ANALYZE decisions")


def size(database: Database) -> int:
    """Return the bytes of the table and its index."""
    with database.read() as connection:
        if database.engine == "postgresql":
            return int(connection.value("SELECT pg_total_relation_size('decisions')"))
        pages, unused, page = (connection.value(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
        return int((pages - unused) * page)


def measure(world: World, views: int, rows: int, cpu: Callable[[], float]) -> Iterator[str]:
    """Yield a row for the table while it is empty, and one for it full."""
    site, database = world.site.id, world.services.written
    identities = people(world, views)
    for full in (False, True):
        before = size(database)
        if full:
            fill(world, identities, rows)
        with database.read() as connection:
            there = connection.value("SELECT count(*) FROM decisions")
        heavy = (size(database) - before) / max(there, 1)
        new, again, dropped = (Work(database, cpu) for _ in range(3))
        for work in (new, again):
            kept = Decisions(work.transact)
            for identity in identities:
                kept.note(site, identity, [(100 + number, "offered") for number in range(MESSAGES)], world.clock())
            with work.measured(len(identities) * MESSAGES):
                kept.write()
        with dropped.measured():
            dropped.rows = sum(decisions.drop(dropped.transact, site, world.clock()))
        weight = f"{heavy:.0f}" if full else ""
        yield f"{there:,} | {new} | {again} | {f'{dropped.rows:,} | {dropped}' if dropped.rows else '0 | | |'} | {weight}"
        with database.write() as tx:
            tx.run("DELETE FROM decisions")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.kept", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--views", type=int, default=1_000)
    given = parser.parse_args()
    cpu = functools.partial(cpu_seconds, os.getpid())
    work = "us a row | ms a transaction | longest"
    print(f"| engine | rows there | new: {work} | again: {work} | dropped | {work} | bytes a row |")
    print("|---|" + "---:|" * 12)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(postgres_server())
        for name, url in (("SQLite", f"sqlite:///{folder / 'leadlight.db'}"), ("PostgreSQL", stack.enter_context(new_database(server)))):
            world = stack.enter_context(start(url, FakeClock()))
            for row in measure(world, given.views, given.rows, cpu):
                print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
