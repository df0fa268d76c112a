"""Where plays are played: two collectors on one database, turned back to knowing nothing before each."""

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.services import Services, build
from collector.settings import Settings
from collector.storage.slices import AHEAD, DRIFT, OPEN, OVERFLOW, WEEK, make, numbers_in
from tests.laws import acts
from tests.laws.play import Play
from tests.support.clock import START, FakeClock
from tests.support.world import World

BEGAN = START - 100 * WEEK
"""In the past: upkeep believes no clock that is ahead of that of PostgreSQL's server, which is the machine's."""


def emptied(world: World, other: Services, now: int) -> None:
    """Turn both collectors back to an empty database as it is at a time: cheaper by far than a new one."""
    database = world.services.written
    wanted = {OVERFLOW, *range((now - world.services.settings.retention - DRIFT) // WEEK, now // WEEK + AHEAD + 1)}
    with database.write() as tx:
        kept = wanted.intersection(numbers_in(tx, OPEN)) if database.engine == "postgresql" else set()
        if database.engine == "sqlite":
            tx.run("DROP VIEW events")
            tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'schema_migrations'"
        else:
            tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('schema_migrations', 'events')"
        for (table,) in sorted(tx.rows(tables), key=lambda row: row[0] in ("sites", "accounts")):  # what others refer to comes last
            gone = table.startswith("events_") and int(table.removeprefix("events_")) not in kept
            tx.run(f"DROP TABLE {table}" if gone else f"DELETE FROM {table}")
        tx.insert("slices", ("slice", "state"), [(number, OPEN) for number in sorted(kept)])
        make(tx, wanted)
    for services in (world.services, other):
        services.slices.forget()
        services.row_ids._last = 0  # ids follow the time, and this never went back before


@contextmanager
def collectors(database_url: str, backup: Path) -> Iterator[Callable[[int], Play]]:
    """Start two collectors on one database; what is yielded begins a play there, so many ms after a time that is always the same."""
    clock = FakeClock(BEGAN)
    settings = Settings(
        database_url=database_url,
        secret_key=(secrets.token_urlsafe(32),),
        retention_days=acts.RETENTION_DAYS,
        lead_retention_days=acts.LEAD_RETENTION_DAYS,
        message_budget_ms=60_000,  # time limits measure the machine
    )
    running = [build(settings, clock), build(settings, clock)]
    world = World(running[0], clock)
    made = itertools.count(BEGAN - 10 * WEEK)

    def begin(phase: int = 0) -> Play:
        emptied(world, running[1], BEGAN + phase)
        clock.now = next(made)  # each site at a time of its own, so that no two have one id: much is kept by it
        world.site = world.new_site()
        clock.now = BEGAN + phase
        return Play(world, running, backup)

    try:
        yield begin
    finally:
        for services in running:
            services.close()
