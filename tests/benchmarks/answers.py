"""What a site's live messages cost the collector's answers, and what they make a page hear.

    python -m tests.benchmarks.answers [--messages 200] [--rounds 400]

CPU is that of the whole process (the answer, the writer's commit, the decision), as the median over rounds in which all cases are asked in
turn, less that of the same answer where the site has no messages. A poll is what a page that stays open asks every half a minute. The
messages are of all types and triggers; some ask for single events, some have hours, a holdout, a page of their own.
"""

import argparse
import json
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from collector.domain.identities import LEAD, NewIdentity
from collector.domain.secrets import digest
from collector.ingest.senders import Headers
from collector.values.ids import new_uuid7
from collector.values.messages import TRIGGERS, TYPES, clean_auto_message
from collector.web.browser import Answer, Responder, TrackerRequest
from tests.benchmarks.decisions import EVENTS, PAGE, audience, person
from tests.support.clock import FakeClock
from tests.support.postgres import new_database, postgres_server
from tests.support.world import World
from tests.support.world import world as start

URL = json.loads(PAGE)["url"]
HEADERS = Headers(
    origin="https://shop.example", user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"
)
PRO = [{"field": "metadata.plan", "operator": "=", "value": "pro"}]
MECHANICS = {"time": {"seconds": 20}, "scroll": {"percent": 50}}
PAGES = (None, {"field": "path", "operator": "starts", "value": "/pricing"}, {"field": "path", "operator": "is", "value": "/docs"})


def definition(number: int, *, elsewhere: bool) -> dict[str, Any]:
    """Return one of the messages that marketers make; with `elsewhere` it is for other pages than the one that is asked for."""
    kind = TRIGGERS[number % len(TRIGGERS)]
    trigger: dict[str, Any] = {"type": kind, **MECHANICS.get(kind, {})}
    if kind == "event":
        trigger |= {"event": EVENTS[number % len(EVENTS)], "where": PRO if number % 4 else []}
    asked = audience(number)
    if number % 10 == 0:
        measure = {"event": EVENTS[number % 3], "field": "count", "where": PRO, "operator": "<", "value": 3}
        asked = {"operator": "AND", "value": [*asked["value"], measure]}
    return {
        "name": f"Message {number}",
        "type": TYPES[number % len(TYPES)],
        "state": "live",
        "content": {"title": "Hello", "body": "There is something new.", "sender": "The shop" if number % 3 == 2 else None},
        "audience": asked,
        "page": PAGES[2] if elsewhere else PAGES[number // len(TRIGGERS) % 3],
        "trigger": trigger,
        "frequency": {"type": ("once", "until_acted", "every_time")[number % 3]},
        "schedule": {"hours": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "00:00", "to": "24:00"}]}
        if number % 6 == 0
        else {},
        "holdout_percent": 10 if number % 5 == 0 else 0,
    }


class Visitor:
    """Somebody with a history, in a site's page, and what the collector answers them."""

    def __init__(self, world: World, messages: list[dict[str, Any]]) -> None:
        services, site = world.services, world.site
        for raw in messages:
            made = clean_auto_message(raw, retention_days=90)
            services.writer.run(site.id, lambda tx, made=made: services.auto_messages.create(tx, site.id, made, world.clock()))
        services.auto_messages.forget(site.id)
        name, secret = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        person(world, NewIdentity((LEAD, name), digest(secret)), signs_up=False)
        self.world = world
        self.lead = f"{name}.{secret}"
        self.responder = Responder(services)
        self.visit = new_uuid7(world.clock())

    def asks(self, *items: Any) -> Answer:
        """Return what the collector answers."""
        now, key = self.world.clock(), self.world.site.key
        body = {"v": 1, "site": key, "lead": self.lead, "sent_at": now, "items": items, "page": {"url": URL}}
        self.world.services.auto_messages.live(self.world.site.id)
        answer = self.responder.wait("/collect", TrackerRequest("POST", HEADERS, "", json.dumps(body).encode()))
        assert answer.status == 202, answer.body
        return answer

    def views(self) -> Answer:
        """Look at the page once more."""
        now = self.world.clock()
        view = new_uuid7(now)
        return self.asks(
            {"type": "event", "id": view, "name": "page-view", "at": now, "visit": self.visit, "view": view, "page": {"url": URL}}
        )

    def polls(self) -> Answer:
        """Ask what a page asks that stays open."""
        return self.asks()


def spent(work: Callable[[], Answer]) -> float:
    """Return the process's CPU for an answer, in microseconds."""
    began = time.process_time_ns()
    work()
    return (time.process_time_ns() - began) / 1e3


def measure(visitors: dict[str, Visitor], rounds: int) -> list[str]:
    """Return a row for each case."""
    found: dict[tuple[str, str], list[float]] = {}
    for visitor in visitors.values():
        visitor.views()
    for _ in range(rounds):
        for case, visitor in visitors.items():
            found.setdefault((case, "views"), []).append(spent(visitor.views))
            found.setdefault((case, "polls"), []).append(spent(visitor.polls))
            visitor.world.services.decisions._pending.clear()
    none = next(iter(visitors))
    rows = []
    for case, visitor in visitors.items():
        view, poll = (median(found[case, what]) for what in ("views", "polls"))
        bare_view, bare_poll = (median(found[none, what]) for what in ("views", "polls"))
        answer = visitor.views()
        heard = json.loads(answer.body)
        offered, asks = len(heard.get("messages", ())), heard.get("poll", "never")
        more = f"{max(view - bare_view, 0):.0f} | {offered} | {len(answer.body)} | {asks} | {max(poll - bare_poll, 0):.0f}"
        rows.append(f"| {case} | {view:.0f} | {more} |")
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.answers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=400)
    given = parser.parse_args()
    print("| engine, live messages | a view's answer, us | of it messages, us | may be claimed | bytes | asks again, s | of a poll, us |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(postgres_server())
        for engine in ("SQLite", "PostgreSQL"):
            visitors = {}
            for place, case in enumerate(("none", f"{given.messages}, all elsewhere", f"{given.messages}, a third elsewhere")):
                sqlite = f"sqlite:///{folder / f'{place}.db'}"
                url = sqlite if engine == "SQLite" else stack.enter_context(new_database(server))
                world = stack.enter_context(start(url, FakeClock()))
                raw = [definition(number, elsewhere=place == 1) for number in range(given.messages if place else 0)]
                visitors[f"{engine}, {case}"] = Visitor(world, raw)
            print("\n".join(measure(visitors, given.rounds)))


if __name__ == "__main__":
    main()
