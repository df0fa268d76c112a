"""Deciding messages is a guest: while somebody holds what it needs, events are taken as ever, and messages come back by themselves."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests.support.client import Answer
from tests.support.envelopes import envelope, new_event
from tests.support.servers import Collector

POPUP = {
    "name": "Hello",
    "type": "popup",
    "state": "live",
    "content": {"body": "Hello"},
    "frequency": {"type": "every_time"},
    "ignore_caps": True,
}
EVENTS = 60


@contextmanager
def held(database_url: str, table: str) -> Iterator[Callable[[], None]]:
    """Keep everybody from a table of PostgreSQL, or take it away from SQLite, until the given call: readers of a file wait for nobody."""
    if database_url.startswith("sqlite:///"):
        file = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None, timeout=30, check_same_thread=False)
        file.execute("PRAGMA legacy_alter_table = ON")
        try:
            file.execute(f"ALTER TABLE {table} RENAME TO held")
            yield lambda: file.execute(f"ALTER TABLE held RENAME TO {table}")
        finally:
            file.close()
    else:
        with psycopg.connect(database_url) as server:
            server.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield server.rollback


def lead() -> str:
    """A new visitor's lead."""
    return f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"


def view(collector: Collector, visitor: str) -> Answer:
    return collector.client.post_json("/collect", envelope(collector.site_key, visitor, new_event()))


def claim(collector: Collector, visitor: str, message: str) -> Answer:
    sender = {key: value for key, value in envelope(collector.site_key, visitor).items() if key != "items"}
    body = {**sender, "message": message, "nonce": secrets.token_urlsafe(16), "page": {"url": "https://shop.example/"}}
    return collector.client.post_json("/claim", body)


def offered(answer: Answer) -> list[str]:
    return [one["id"] for one in answer.json.get("messages", [])]


def resting(collector: Collector) -> int:
    found: int = collector.client.get("/readyz").json["messages"]["sites_resting"]
    return found


def said_of_offers(collector: Collector) -> list[str]:
    return [line for line in collector.program.errors.splitlines() if " offers of messages of site " in line]


def until(holds: Callable[[], bool], seconds: float = 60) -> bool:
    """Ask again and again whether something holds, each time with requests that take their time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
    return True


@pytest.mark.parametrize("table", ["deliveries", "auto_messages"])
def test_while_what_decides_is_held_every_event_is_taken_and_then_messages_come_back(collector: Collector, table: str) -> None:
    message = collector.client.api("POST", "/auto_messages", POPUP).json["id"]
    visitors = [lead() for _ in range(8)]
    assert [offered(view(collector, visitor)) for visitor in visitors] == [[message]] * len(visitors)
    with held(collector.database_url, table) as release:
        with ThreadPoolExecutor(24) as pool:
            claims = [pool.submit(claim, collector, visitor, message) for visitor in visitors]
            views = [pool.submit(view, collector, visitors[number % len(visitors)]) for number in range(EVENTS)]
            answers = [one.result() for one in views]
            refused = [one.result() for one in claims]
        assert [answer.status for answer in answers] == [202] * EVENTS
        assert {answer.json["accepted"] for answer in answers} == {1}
        assert {answer.status for answer in refused} == {503}
        assert until(lambda: view(collector, visitors[0]).status == 202 and len(said_of_offers(collector)) == 1)
        assert resting(collector) == 1
        ready = collector.client.get("/readyz")
        assert (ready.status, ready.json["status"]) == (200, "ok")
        release()
    assert until(lambda: offered(view(collector, visitors[0])) == [message] and claim(collector, visitors[0], message).status == 200)
    assert resting(collector) == 0
    assert len(said_of_offers(collector)) == 2, (
        collector.program.errors
    )  # that they rest, and that they work again: nothing of each failure
    assert "Traceback" not in collector.program.errors
