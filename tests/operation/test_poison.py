"""An event that the database refuses costs only itself: not its neighbours in a request, nor other requests in the commit."""

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collector.storage.database import Connection, Database
from collector.values.ids import new_uuid7
from tests.support.envelopes import envelope, new_event
from tests.support.servers import Collector

CLIENTS = 16
EVENTS = 50
POISON = {"metadata": {"kind": "poison"}}


@pytest.fixture(params=["on", "off"], ids=["written apart", "written where it is served"])
def collector(request: pytest.FixtureRequest, start_collector: Callable[..., Collector]) -> Collector:
    """A collector on a database that takes nothing poisonous."""
    started = start_collector(settings={"LEADLIGHT_WRITER_PROCESS": request.param})
    database = Database(started.database_url)
    database.transact(refuse_poison)
    database.close()
    return started


@pytest.fixture
def fleet(collector: Collector, start_collector: Callable[..., Collector]) -> list[Collector]:
    """Three collectors on such a database."""
    settings = {"LEADLIGHT_WRITER_PROCESS": collector.environ["LEADLIGHT_WRITER_PROCESS"]}
    others = [start_collector(database_url=collector.database_url, folder=collector.folder, settings=settings) for _ in range(2)]
    for other in others:
        other.site = collector.site
    return [collector, *others]


def refuse_poison(tx: Connection) -> None:
    if tx.engine == "postgresql":
        tx.run("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''poison''; END'")
        when = "NEW.metadata::text LIKE '%poison%'"
        tx.run(f"CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION refuse()")
        when = "NEW.own_value LIKE '%poison%'"
        tx.run(f"CREATE TRIGGER refuse BEFORE INSERT ON attributes FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION refuse()")
        return
    tx.run(
        "CREATE TRIGGER refuse_attributes BEFORE INSERT ON attributes WHEN NEW.own_value LIKE '%poison%' "
        "BEGIN SELECT RAISE(ABORT, 'poison'); END"
    )
    for (table,) in tx.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'events_[0-9]*'"):
        tx.run(
            f"CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} WHEN NEW.metadata LIKE '%poison%' "
            "BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )


def count(collector: Collector, name: str) -> int:
    found = collector.client.api("GET", f"/events/top?event_name={name}&per_page=50").json["data"]
    return sum(one["count"] for one in found)


def test_among_the_events_of_browsers(fleet: list[Collector]) -> None:
    def post(number: int) -> list[Any]:
        lead = f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
        answers = []
        for place in (0, number, EVENTS - 1):
            events = [new_event("came") for _ in range(EVENTS)]
            events[place] |= POISON
            answer = fleet[number % len(fleet)].client.post_json("/collect", envelope(fleet[0].site_key, lead, *events))
            answers.append(
                (answer.status, answer.json["accepted"], [(one["index"] - place, one["code"]) for one in answer.json["refused"]])
            )
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for found in pool.map(post, range(CLIENTS)) for answer in found]
    assert answers == [(202, EVENTS - 1, [(0, "internal")])] * 3 * CLIENTS
    assert count(fleet[0], "came") == 3 * CLIENTS * (EVENTS - 1)


def test_among_the_events_of_a_server(fleet: list[Collector]) -> None:
    def event(number: int) -> dict[str, Any]:
        now = time.time()
        return {"id": new_uuid7(int(now * 1_000)), "event_name": "came", "user_id": f"u-{number % 7}", "created_at": int(now)}

    def post(number: int) -> tuple[int, int, list[tuple[int, str, object]]]:
        events = [event(place) for place in range(EVENTS)]
        events[number] |= POISON
        answer = fleet[number % len(fleet)].client.api("POST", "/events/batch", {"events": events})
        return (
            answer.status,
            answer.json["accepted"],
            [(one["index"] - number, one["code"], one["field"]) for one in answer.json["refused"]],
        )

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(post, range(CLIENTS)))
    assert answers == [(202, EVENTS - 1, [(0, "internal", None)])] * CLIENTS
    assert count(fleet[0], "came") == CLIENTS * (EVENTS - 1)


def test_an_attribute_among_the_events_of_a_browser(collector: Collector) -> None:
    lead = f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
    items: list[dict[str, Any]] = [new_event("came") for _ in range(4)]
    items.insert(2, {"type": "identify", "at": items[0]["at"], "attributes": {"custom_attributes": {"plan": "poison"}}})
    items.insert(4, {"type": "identify", "at": items[0]["at"], "attributes": {"custom_attributes": {"colour": "red"}}})
    answer = collector.client.post_json("/collect", envelope(collector.site_key, lead, *items))
    assert (answer.status, answer.json["accepted"]) == (202, 5)
    assert [(one["index"], one["code"]) for one in answer.json["refused"]] == [(2, "internal")]
    (contact,) = collector.client.api("GET", "/contacts").json["data"]
    assert contact["custom_attributes"] == {"colour": "red"}


def test_an_event_of_a_server_that_brings_somebody_is_written_whole_or_not_at_all(collector: Collector) -> None:
    event = {"event_name": "came", "email": "ada@example.com", "create_contact": True, **POISON}
    answer = collector.client.api("POST", "/events", event)
    assert (answer.status, answer.json["errors"][0]["code"]) == (500, "internal")
    assert collector.client.api("GET", "/contacts").json["data"] == []


def test_a_browser_keeps_what_it_sent_where_nothing_of_it_can_be_written(collector: Collector) -> None:
    """Then it may be the collector's fault, and what is refused is never sent again."""
    lead = f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
    events = [new_event("came", **POISON) for _ in range(EVENTS)]
    answer = collector.client.post_json("/collect", envelope(collector.site_key, lead, *events))
    assert (answer.status, answer.json["errors"][0]["code"]) == (500, "internal")
    assert count(collector, "came") == 0
