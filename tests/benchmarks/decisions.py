"""What it costs to decide which of a site's live messages somebody may be shown: CPU on SQLite, round trips (waits) on PostgreSQL.

    python -m tests.benchmarks.decisions [--messages 50] [--rounds 2000]

Asked is what the collector asks after each page view: the person is loaded, and every live message decided, by its audience too. CPU is
that of this thread, as the median over rounds; waits are for answers of the database. The person is alone on its site and did thirty
things; `among` asks the same of the people of a grown site, one after the other (`tests.benchmarks.audiences` does).
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from collector.domain.identities import LEAD, USER, NewIdentity
from collector.domain.names import PAGE_VIEW
from collector.domain.secrets import digest
from collector.domain.submissions import Event, Outcome, Submission
from collector.ingest.offers import Offers
from collector.ingest.senders import Verified
from collector.services import Services
from collector.storage.database import Connection
from collector.values.clock import DAY, HOUR
from collector.values.ids import new_uuid7, uuid7_bytes
from collector.values.messages import clean_auto_message
from tests.benchmarks.content import NAMES, PAGES
from tests.benchmarks.population import Population
from tests.support.clock import FakeClock
from tests.support.postgres import new_database, postgres_server
from tests.support.world import World, lead, user
from tests.support.world import world as start

EVENTS = tuple(f"did-{number}" for number in range(30))
VISIT = "01a2104a-324e-7080-a9b1-02515962ad5b"
PAGE = '{"url":"https://shop.example/pricing?plan=pro","title":"Pricing"}'


_COMMON = 12
PRO = {"field": "custom_attributes.plan", "operator": "=", "value": "pro"}
NOT_COMPANY = {"field": "custom_attributes.plan", "operator": "!=", "value": "company"}


def audience(number: int, events: Sequence[str] = EVENTS, plan: Any = PRO) -> Any:
    """Return one of the queries that marketers write; those with an odd number hold for the person below, the others for nobody."""
    event = events[number % len(events)]
    odd = number % 2
    return {
        "operator": "AND",
        "value": [
            {"event": event, "field": "count", "operator": ">" if odd else "<", "value": 0},
            {"event": event, "field": "last", "operator": "less_than_days_ago", "value": 60},
            {"event": "never-done", "field": "count", "operator": "=", "value": 0},
            plan,
            {"field": "last_seen_at", "operator": "less_than_days_ago", "value": 60},
        ],
    }


def messages(services: Services, site: int, count: int, events: Sequence[str] = EVENTS, plan: Any = PRO) -> None:
    """Make live messages: a third for any page, a third for pages like this one, a third for others."""
    pages = (None, {"field": "path", "operator": "starts", "value": "/pricing"}, {"field": "path", "operator": "is", "value": "/docs"})
    for number in range(count):
        raw = {
            "name": f"Message {number}",
            "type": "popup",
            "state": "live",
            "content": {"title": "Hello", "body": "There is something new."},
            "audience": audience(number, events, plan),
            "page": pages[number % 3],
        }
        definition = clean_auto_message(raw, retention_days=90)
        services.writer.run(site, lambda tx, made=definition: services.auto_messages.create(tx, site, made, services.clock()))
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


class Asked:
    """CPU in microseconds of each decision, how often the last one waited, and how many messages each offered."""

    def __init__(self) -> None:
        self.spent: list[float] = []
        self.offered: list[int] = []
        self.waits = 0

    def ask(self, services: Services, sender: Verified, person: int, *, spy: bool = False) -> None:
        """Decide once for this person, and write down what it cost, or with `spy` how often it waits."""
        now = services.clock()
        view, outcome = Event(uuid7_bytes(new_uuid7(now)) or b"", "page-view", now, None, PAGE), Outcome(person=person)
        services.auto_messages.live(sender.site.id)
        with _waits() if spy else nullcontext([]) as waits:
            began = time.thread_time()
            question = Offers(services).question(sender, outcome, [view], (), now)
            if question is None:
                raise RuntimeError("no message could be shown there")
            offered = question()
            if not spy:
                self.spent.append((time.thread_time() - began) * 1e6)
                self.offered.append(len(offered.messages))
        self.waits = len(waits)

    def __str__(self) -> str:
        spent, offered = sorted(self.spent), sorted(self.offered)
        few, many = offered[len(offered) // 10], offered[len(offered) * 9 // 10]
        spread = "" if few == many else f" ({few} to {many})"
        return f"{median(spent):.0f} | {spent[len(spent) * 99 // 100]:.0f} | {self.waits} | {median(offered):.0f}{spread}"


@contextmanager
def _waits() -> Iterator[list[str]]:
    """Note each wait for an answer of the database."""
    waits: list[str] = []
    execute = Connection._execute

    def spy(self: Connection, sql: str, parameters: Any) -> Any:
        waits.append(sql)
        return execute(self, sql, parameters)

    Connection._execute = spy  # type: ignore[method-assign]
    try:
        yield waits
    finally:
        Connection._execute = execute  # type: ignore[method-assign]


def alone(url: str, count: int, rounds: int) -> Asked:
    """Ask of the only person of a site."""
    with start(url, FakeClock()) as world:
        messages(world.services, world.site.id, count)
        number = person(world)
        sender = Verified(world.site, lead(), "u-1", verified=True, session=None)
        asked = Asked()
        for _ in range(rounds):
            asked.ask(world.services, sender, number)
        asked.ask(world.services, sender, number, spy=True)
        return asked


def among(services: Services, population: Population, count: int = 50, people: int = 500, times: int = 5) -> Asked:
    """Ask of so many people of a grown site in turn, drawn as they come to it, so that no row stays at hand from one time to the next.

    Each of them has just come, which begins a visit, and is recorded. Half of the messages are meant for whoever did one of the things that
    most of these people do; the least common are left out.
    """
    (site,), random = services.sites.all(), Random(1)
    messages(services, site.id, count, NAMES[:_COMMON], NOT_COMPANY)
    senders = []
    for index in (population.visitor(random) for _ in range(people)):
        name, secret = population.lead(index if index < population.leads else population.leads_of(index)[0])
        user_id = None if index < population.leads else f"user-{index - population.leads}"
        key = (LEAD, name)
        identity, owner = NewIdentity(key, digest(secret)), key if user_id is None else (USER, user_id)
        now = services.clock()
        seen = Event(uuid7_bytes(new_uuid7(now)) or b"", PAGE_VIEW, now, uuid7_bytes(new_uuid7(now)), *PAGES[0])
        services.writer.record(site.id, [Submission(owner=owner, lead=identity, events=[seen])])
        senders.append((population.row_id(index), Verified(site, identity, user_id, verified=user_id is not None, session=None)))
    asked = Asked()
    for _ in range(times):
        for number, sender in senders:
            asked.ask(services, sender, number)
    number, sender = senders[0]
    asked.ask(services, sender, number, spy=True)
    return asked


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
            print(f"| {name} | {alone(url, given.messages, given.rounds)} |")


if __name__ == "__main__":
    main()
