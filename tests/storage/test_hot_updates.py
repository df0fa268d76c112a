"""Whoever comes again changes rows in their places: PostgreSQL writes no index for it (a heap-only tuple update)."""

import psycopg
import pytest

from collector.domain.submissions import Submission
from collector.values.clock import MINUTE
from collector.values.ids import new_uuid7
from tests.support.clock import FakeClock
from tests.support.postgres import alone, new_database
from tests.support.world import lead, user
from tests.support.world import world as start

GROUPS = 50
PEOPLE = 5
NAMES = ("page-view", "saved", "paid")
ENOUGH = 0.9
"""The part that has to stay in its place: a row moves where its page has no room left."""


def updates(postgres_url: str, clock: FakeClock, *before: str) -> dict[str, tuple[int, int]]:
    """Let the same people come again and again, in groups; return by table how many rows were updated, and how many without an index.

    `before` are statements that run first.
    """
    with new_database(postgres_url) as url:
        with start(url, clock) as world:
            for statement in before:
                world.services.written.transact(lambda tx, statement=statement: tx.run(statement))
            visit = new_uuid7(clock())
            for _ in range(GROUPS):
                group = [_submission(world, number, visit) for number in range(PEOPLE)]
                for outcome in world.services.writer.record(world.site.id, group):
                    assert outcome.events == [True] * len(NAMES)
                clock.advance(MINUTE)
        alone(url)  # sessions tell what they did when they end, at the latest
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables").fetchall()
    return {table: (number, hot) for table, number, hot in rows}


def _submission(world, number: int, visit: str) -> Submission:
    """What one browser sends, half of them of somebody who is signed in."""
    events, browser = [world.event(name, visit=visit) for name in NAMES], lead(f"lead-{number}")
    return Submission(owner=user(f"u-{number}") if number % 2 else browser.key, lead=browser, events=events)


@pytest.fixture(scope="module")
def usual(postgres_url: str) -> dict[str, tuple[int, int]]:
    return updates(postgres_url, FakeClock())


@pytest.mark.parametrize(("table", "rows"), [("totals", PEOPLE * len(NAMES)), ("identities", PEOPLE)])
def test_rows_of_who_comes_again_stay_in_their_places(usual: dict[str, tuple[int, int]], table: str, rows: int) -> None:
    updated, in_place = usual[table]
    assert updated >= rows * (GROUPS - 1)
    assert in_place > ENOUGH * updated


def test_an_index_over_what_changes_is_noticed(postgres_url: str, clock: FakeClock) -> None:
    updated, in_place = updates(postgres_url, clock, "CREATE INDEX totals_last ON totals (site, name, count, last)")["totals"]
    assert in_place < ENOUGH * updated
