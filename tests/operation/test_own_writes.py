"""Two collectors on one database: what one has acknowledged the other counts at once, and never more than was sent.

Only the console's live figure might lag, by at most five seconds; it says of what time it is.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.servers import Collector, signed_in

ROUNDS = 25
MOST_LAG = 5.0
"""Seconds."""


@pytest.fixture
def pair(start_collector: Callable[..., Collector]) -> list[Collector]:
    first = start_collector()
    other = start_collector(database_url=first.database_url, folder=first.folder)
    other.site = first.site
    return [first, other]


def did(event: str, **more: Any) -> dict[str, Any]:
    return {"event": event, "field": "count", "operator": ">", "value": 0, **more}


def found(client: Client, query: Any) -> int:
    answer = client.api("POST", "/contacts/search", {"query": query, "pagination": {"per_page": 1}})
    assert answer.status == 200, answer.text
    return int(answer.json["total_count"])


def write(client: Client, event: str, number: int) -> None:
    """Let one more person do something and be something; both are acknowledged."""
    who = f"{event}-{number}"
    answer = client.api("POST", "/events/batch", {"events": [{"event_name": event, "user_id": who, "metadata": {"plan": "pro"}}]})
    assert (answer.status, answer.json["accepted"]) == (202, 1), answer.text
    contact = client.api("GET", f"/contacts/find_by_external_id/{who}").json["id"]
    answer = client.api("PUT", f"/contacts/{contact}", {"custom_attributes": {"team": event}})
    assert answer.status == 200, answer.text


def test_what_one_collector_acknowledged_the_other_counts_at_once(pair: list[Collector]) -> None:
    gate = threading.Barrier(4)

    def work(number: int) -> None:
        event = f"done-{number}"
        gate.wait()
        for count in range(1, ROUNDS + 1):
            writing, asking = (pair[(number + count + other) % 2].client for other in (0, 1))
            write(writing, event, count)
            for query in (
                did(event),
                did(event, within_days=1),
                did(event, where=[{"field": "metadata.plan", "operator": "=", "value": "pro"}]),
                {"field": "custom_attributes.team", "operator": "=", "value": event},
                {"operator": "NOT", "value": [{"operator": "NOT", "value": [did(event)]}]},
            ):
                assert found(asking, query) == count, query

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_the_figure_of_the_console_holds_what_was_acknowledged_before_its_time(pair: list[Collector]) -> None:
    segment = pair[0].client.api("POST", "/segments", {"name": "Done", "query": did("figured")}).json["id"]
    consoles = [Console(one, segment) for one in pair]
    sent, acknowledged, ended = 0, 0, threading.Event()

    def write_all() -> None:
        nonlocal sent, acknowledged
        try:
            for count in range(1, 2 * ROUNDS + 1):
                sent = count
                write(pair[count % 2].client, "figured", count)
                acknowledged = count
        finally:
            ended.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_all)
        while not ended.is_set():
            for console in consoles:
                before, since = acknowledged, time.time()
                people, at = console.figure()
                assert before <= people <= sent
                assert since - MOST_LAG - 1 <= at <= time.time()
        writing.result()
    assert [console.figure()[0] for console in consoles] == [2 * ROUNDS] * 2


class Console:
    """Somebody who looks at a segment's count."""

    def __init__(self, collector: Collector, segment: str) -> None:
        self.client = Client(collector.url)
        self.segment = segment
        self.headers = signed_in(collector)

    def figure(self) -> tuple[int, float]:
        """Return the count and the time (unix seconds) that it says it is of."""
        answer = self.client.get(f"/console/segments/counts?id={self.segment}", self.headers)
        assert answer.status == 200, answer.text
        (people,) = answer.json["people"].values()
        return int(people), datetime.fromisoformat(answer.json["at"]).timestamp()
