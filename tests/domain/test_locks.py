"""PostgreSQL's locks: who changes what is somebody's waits for others at the identities, and holds nothing there that these may want.

Else two could wait for each other, until the server ends one of them.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from collector.domain import deliveries, goals, identities, pruning, totals
from collector.domain.auto_messages import AutoMessage
from collector.domain.deliveries import Delivery, Report
from collector.domain.doctor import examine
from collector.domain.goals import Receipt
from collector.domain.identities import Key
from collector.domain.merging import Claim, claim_lead
from collector.domain.names import EVENT
from collector.domain.submissions import Submission
from collector.storage.slices import WEEK
from collector.values.clock import DAY
from collector.values.messages import clean_auto_message
from tests.support.world import World, lead, user

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])

AT_ONCE = "SET LOCAL lock_timeout = '500ms'"
"""Sooner than the server looks whether two wait for each other."""

WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event IN ('transactionid', 'tuple')"


@pytest.fixture
def beside(world: World) -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Has another thread do something, until it waits for a row that somebody holds."""
    with ThreadPoolExecutor(1) as pool, psycopg.connect(world.services.settings.database_url, autocommit=True) as watch:

        def run(work: Callable[[], Any]) -> Future[Any]:
            running = pool.submit(work)
            while not watch.execute(WAITING).fetchall():
                assert not running.done(), "it met nobody"
                time.sleep(0.01)
            return running

        yield run


def number(world: World, key: Key) -> int:
    """The row id of an identity."""
    return int(world.rows("SELECT id FROM identities WHERE kind = ? AND value = ?", *key)[0][0])


@pytest.fixture
def message(world: World) -> AutoMessage:
    raw = {"name": "Hello", "type": "popup", "state": "live", "content": {"title": "Hello", "body": "A message."}}
    services, site, now = world.services, world.site.id, world.clock()
    definition = clean_auto_message(raw, retention_days=90)
    made: AutoMessage = services.writer.run(site, lambda tx: services.auto_messages.create(tx, site, definition, now))
    return made


def deliver(world: World, message: AutoMessage, who: int) -> None:
    row = Delivery(who, message.id, 1, 1, deliveries.SHOWN, f"nonce-{who}", world.clock(), None, None, None, None, None, None, None, 0)
    world.services.writer.run(world.site.id, lambda tx: deliveries.insert(tx, world.site.id, row))


def test_goals_are_noted_while_browsers_report_on_the_same_deliveries(
    world: World, message: AutoMessage, beside: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    services, site, now = world.services, world.site.id, world.clock()
    leads = {}
    for name in ("a", "b"):
        world.send(lead(name), world.event())
        leads[number(world, lead(name).key)] = lead(name)
    first, last = sorted(leads)
    reports = []
    for who in (last, first):
        deliver(world, message, who)
        report = Report(message.public_id, f"nonce-{who}", "seen", now)
        reports.append(Submission(owner=leads[who].key, lead=leads[who], reports=[report]))
    with services.written.write() as tx:
        tx.run(AT_ONCE)
        goals.note(tx, site, message, [Receipt(first, 1, now + DAY)], now)
        reporting = beside(lambda: services.writer.record(site, reports))
        goals.note(tx, site, message, [Receipt(last, 1, now + DAY)], now)
    assert [outcome.reports for outcome in reporting.result(30)] == [[True], [True]]
    assert world.rows("SELECT seen_at, goal_at FROM deliveries") == [(now, now)] * 2


def test_pruning_takes_no_total_before_it_has_everybody_whose_totals_it_changes(
    world: World, beside: Callable[[Callable[[], Any]], Future[Any]]
) -> None:
    """A group merges a lead, which takes all of its totals, and counts somebody else's event after that, of a name that comes before."""
    services, site = world.services, world.site.id
    for who, name in ((user("other"), "first"), (lead(), "second"), (user(), "third")):
        world.send(who, world.event(name))
    other, of_lead, of_user = (number(world, key) for key in (user("other"), lead().key, user()))
    name, later = (services.names.number(site, EVENT, text) for text in ("first", "second"))
    assert name is not None and later is not None and name < later
    now = world.clock.advance(services.settings.retention + 3 * WEEK)
    services.slices.ensure(now)

    def prune() -> int:
        retention = services.settings.retention
        steps = pruning.prune(services.written, services.slices, services.written.transact, now, retention)
        return sum(step.events for step in steps)

    with services.written.write() as tx:
        tx.run(AT_ONCE)
        found = identities.by_ids(tx, site, [other, of_lead, of_user], lock=True)
        asked = {"verified": False, "by": "browser", "reason": "identify"}
        assert claim_lead(tx, site, found[of_lead], found[of_user], services.row_ids, now, **asked) is Claim.MERGED
        pruned = beside(prune)
        row = (site, now // WEEK, world.event().id, other, name, now, 0, None, None, None)
        services.slices.insert(tx, site, now // WEEK, [row], now)
        totals.count(tx, site, [row], {other: other})
    assert pruned.result(30) == 3
    assert world.counts(user("other")) == {"first": 2}
    assert world.counts(user()) == {"second": 1, "third": 1}
    assert list(examine(services.database, services.keyring)) == []
