"""What it costs to decide which of a site's live messages somebody may be shown: CPU on SQLite, round trips (waits) on PostgreSQL.

    python -m tests.benchmarks.decisions [--messages 50] [--rounds 2000]

Asked is what the collector asks after each page view: the person is loaded, and every live message decided, by its audience too. CPU is
that of this thread, as the median over rounds; waits are for answers of the database.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from collector.domain.identities import NewIdentity
from collector.domain.tracking import Event
from collector.ingest.offers import Offers
from collector.ingest.senders import Verified
from collector.storage.database import Connection
from collector.values.clock import DAY, HOUR
from collector.values.messages import clean_auto_message
from tests.support.clock import FakeClock
from tests.support.postgres import new_database, postgres_server
from tests.support.world import World, lead, user
from tests.support.world import world as start

EVENTS = tuple(f"did-{number}" for number in range(30))
VISIT = "01a2104a-324e-7080-a9b1-02515962ad5b"
PAGE = '{"url":"https://shop.example/pricing?plan=pro","title":"Pricing"}'


def audience(number: int) -> Any:
    """Return one of the queries that marketers write; those with an odd number hold for the person below."""
    event = EVENTS[number % len(EVENTS)]
    odd = number % 2
    return {
        "operator": "AND",
        "value": [
            {"event": event, "field": "count", "operator": ">" if odd else "<", "value": 0},
            {"event": event, "field": "last", "operator": "less_than_days_ago", "value": 60},
            {"event": "never-done", "field": "count", "operator": "=", "value": 0},
            {"field": "custom_attributes.plan", "operator": "=", "value": "pro"},
            {"field": "last_seen_at", "operator": "less_than_days_ago", "value": 30},
        ],
    }


def messages(world: World, count: int) -> None:
    """Make live messages: a third for any page, a third for pages like this one, a third for others."""
    services, site = world.services, world.site.id
    pages = (None, {"field": "path", "operator": "starts", "value": "/pricing"}, {"field": "path", "operator": "is", "value": "/docs"})
    for number in range(count):
        raw = {
            "name": f"Message {number}",
            "type": "popup",
            "state": "live",
            "content": {"title": "Hello", "body": "There is something new."},
            "audience": audience(number),
            "page": pages[number % 3],
        }
        definition = clean_auto_message(raw, retention_days=90)
        services.writer.run(site, lambda tx, made=definition: services.auto_messages.create(tx, site, made, world.clock()))
    services.auto_messages.forget(site)


def person(world: World, who: NewIdentity | None = None, *, signs_up: bool = True) -> int:
    """Make somebody who came as a visitor, did thirty things, has a dozen attributes, and saw three messages; a user unless told else."""
    who = who or lead()
    values: dict[str, Any] = {f"custom_attributes.a{number}": number for number in range(10)}
    world.set(who, {**values, "custom_attributes.plan": "pro", "name": "A customer"})
    for number, name in enumerate(EVENTS):
        at = world.clock() - number * DAY
        world.send(who, world.event(name, at=at, visit=VISIT, page=PAGE), world.event(at=at, page=PAGE))
    last = world.event(visit=VISIT, page=PAGE)
    outcome = world.send(user(), last, lead=who, verified=True) if signs_up else world.send(who, last)
    with world.services.written.write() as tx:
        known = tx.rows("SELECT id FROM auto_messages WHERE site = ? ORDER BY id LIMIT 3", (world.site.id,))
        columns = ("site", "identity", "message", "n", "version", "arm", "nonce", "claimed_at", "seen_at", "dismissed_at")
        then = world.clock() - 5 * DAY
        rows = [(world.site.id, outcome.person, number, 1, 1, "shown", f"nonce-{number}", then, then, then + HOUR) for (number,) in known]
        tx.insert("deliveries", columns, rows)
    assert outcome.person is not None
    return outcome.person


def measure(url: str, given: argparse.Namespace) -> tuple[float, float, int, int]:
    """Return CPU in microseconds (the median and the 99th percentile), how often it waited, and how many messages were offered."""
    with start(url, FakeClock()) as world:
        messages(world, given.messages)
        number = person(world)
        offers, site, now = Offers(world.services), world.site, world.clock()
        view = Event(world.event().id, "page-view", now, None, PAGE)
        sender = Verified(site, lead(), "u-1", verified=True, session=None)
        outcome = world.send(user(), lead=lead(), verified=True)
        assert outcome.person == number
        spent, found = [], []
        waits: list[str] = []
        execute, read_ahead = Connection._execute, Connection.read_ahead

        def spy(self: Connection, sql: str, parameters: Any) -> Any:
            waits.append(sql)
            return execute(self, sql, parameters)

        def spy_ahead(self: Connection, *questions: Any) -> None:
            if self.engine == "postgresql":
                waits.append("several in one message")
            read_ahead(self, *questions)

        for each in range(given.rounds + 1):
            world.services.auto_messages.live(site.id)
            if each == given.rounds:
                Connection._execute, Connection.read_ahead = spy, spy_ahead  # type: ignore[method-assign]
            began = time.thread_time()
            question = offers.question(sender, outcome, [view], (), now)
            assert question is not None
            found = question().messages
            spent.append((time.thread_time() - began) * 1e6)
        Connection._execute, Connection.read_ahead = execute, read_ahead  # type: ignore[method-assign]
        spent = sorted(spent[:-1])
        return median(spent), spent[len(spent) * 99 // 100], len(waits), len(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.decisions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2_000)
    given = parser.parse_args()
    print(f"| {given.messages} live messages, one person | CPU, us | p99 | waits | offered |\n|---|---:|---:|---:|---:|")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(postgres_server())
        for name, url in (("SQLite", f"sqlite:///{folder / 'leadlight.db'}"), ("PostgreSQL", stack.enter_context(new_database(server)))):
            cpu, p99, waits, offered = measure(url, given)
            print(f"| {name} | {cpu:.0f} | {p99:.0f} | {waits} | {offered} |")


if __name__ == "__main__":
    main()
