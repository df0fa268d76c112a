"""Several collectors on one PostgreSQL: the same people written, merged and claimed at once, with one result."""

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collector.values.ids import new_uuid7
from tests.support.envelopes import envelope, new_event
from tests.support.servers import Collector

POPUP = {"name": "Once", "type": "popup", "state": "live", "content": {"body": "Hello"}, "frequency": {"type": "once"}, "ignore_caps": True}


@pytest.fixture
def pair(engine: str, start_collector: Callable[..., Collector]) -> list[Collector]:
    """Two collectors that share a database, or on SQLite, which has one writer, one collector twice."""
    first = start_collector()
    if engine == "sqlite":
        return [first, first]
    second = start_collector(database_url=first.database_url, folder=first.folder)
    second.site = first.site
    return [first, second]


def test_the_same_people_from_two_sides_at_once(pair: list[Collector]) -> None:
    leads = [f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}" for _ in range(4)]
    events = [[new_event("saved") for _ in range(10)] for _ in leads]
    gate = threading.Barrier(16)

    def act(number: int) -> list[int]:
        collector, which = pair[number % 2], number % 4
        user = {"id": f"u-{which % 2}"}
        gate.wait(30)
        statuses = []
        for event in events[which]:
            statuses.append(collector.client.post_json("/collect", envelope(pair[0].site_key, leads[which], event)).status)
            signed_in = envelope(pair[0].site_key, leads[which], {**event, "id": new_uuid7(event["at"])}, user=user)
            statuses.append(collector.client.post_json("/collect", signed_in).status)
        return statuses

    with ThreadPoolExecutor(16) as pool:
        statuses = [status for part in pool.map(act, range(16)) for status in part]
    assert set(statuses) == {202}

    client = pair[1].client
    counted = 0
    for name in ("u-0", "u-1"):
        summary = client.api("GET", f"/events?type=user&user_id={name}&summary=true").json
        counted += sum(event["count"] for event in summary["events"])
    # each lead's ten events once, however often and wherever they were sent, and one of its own for each signed-in send
    assert counted == 4 * 10 + 16 * 10


def test_of_claims_on_two_collectors_one_is_granted(pair: list[Collector]) -> None:
    message = pair[0].client.api("POST", "/auto_messages", POPUP).json["id"]
    lead = f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
    pair[0].client.post_json("/collect", envelope(pair[0].site_key, lead, new_event()))

    def claim(number: int) -> Any:
        body = {key: value for key, value in envelope(pair[0].site_key, lead).items() if key != "items"}
        nonce = secrets.token_urlsafe(16)
        answer = pair[number % 2].client.post_json("/claim", {**body, "message": message, "nonce": nonce, "page": {"url": ""}})
        return answer.json["message"]

    with ThreadPoolExecutor(16) as pool:
        granted = [answer for answer in pool.map(claim, range(60)) if answer is not None]
    assert len(granted) == 1
