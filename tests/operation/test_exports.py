"""Exports under the real server: who reads slowly, and what fails before anything was sent."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.servers import Collector

PATIENCE_SECONDS = 60
BATCHES = 4
NOTES = {f"note-{number}": "x" * 250 for number in range(19)}
"""With 1,000 events of these a batch, more is exported than the system keeps for a client who reads nothing."""
SECONDS = 1
NO_END = """
from collector.web import streams

streams.SECONDS, streams.MOST = 3_600, 1
"""
BEGINS_LATE = """
import sys

send = streams.send

async def send_late(protocol, *given):
    streams.send = send
    print("begins late", file=sys.stderr, flush=True)
    await protocol.client_disconnect()
    await send(protocol, *given)

streams.send = send_late
"""
FAULTS = """
import psycopg
from collector.domain import export
from collector.domain.people import NoPerson

def visits(*_):
    raise {fault}
    yield

export.visits = visits
"""


@pytest.fixture
def collector(start_collector: Callable[..., Collector]) -> Collector:
    return start_collector()


def somebody(collector: Collector, batches: int = 1) -> str:
    """Somebody with a thousand events a batch; returns the contact id."""
    for batch in range(batches):
        events = [{"event_name": f"event-{batch}", "user_id": "u-1", "metadata": {**NOTES, "n": number}} for number in range(1_000)]
        assert collector.client.api("POST", "/events/batch", {"events": events}).json["accepted"] == 1_000
    return str(collector.client.api("GET", "/contacts/find_by_external_id/u-1").json["id"])


@contextlib.contextmanager
def asked(collector: Collector, contact: str) -> Iterator[http.client.HTTPResponse]:
    """An export that has begun; nothing of it is read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", f"/api/contacts/{contact}/export", headers={"Authorization": f"Bearer {collector.access_token}"})
        yield connection.getresponse()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_client_who_reads_nothing_is_given_up_and_holds_up_only_other_exports(collector: Collector) -> None:
    contact = somebody(collector, BATCHES)
    collector.stop()
    collector.start(f"from collector.web import streams\nstreams.SECONDS, streams.MOST = {SECONDS}, 1")
    with asked(collector, contact) as slow:
        assert slow.status == 200
        turned_away = collector.client.api("GET", f"/contacts/{contact}/export")
        assert (turned_away.status, turned_away.codes, turned_away.headers["Retry-After"]) == (503, ["overloaded"], "5")
        assert collector.client.api("GET", "/me").status == 200
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (whole := collector.client.api("GET", f"/contacts/{contact}/export")).status != 200:
            assert time.monotonic() < deadline
        assert len(whole.json["events"]) == BATCHES * 1_000
        with pytest.raises(json.JSONDecodeError):
            json.loads(slow.read())


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("when", ["before it begins", "early"])
def test_a_client_who_leaves_makes_room_at_once(collector: Collector, when: str) -> None:
    contact = somebody(collector, BATCHES)
    collector.stop()
    collector.start(NO_END + (BEGINS_LATE if when == "before it begins" else ""))
    if when == "early":
        with asked(collector, contact) as answer:
            assert answer.status == 200
    else:
        with contextlib.closing(socket.create_connection(("127.0.0.1", collector.port), PATIENCE_SECONDS)) as connection:
            token = f"Authorization: Bearer {collector.access_token}"
            connection.sendall(f"GET /api/contacts/{contact}/export HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}\r\n\r\n".encode())
            deadline = time.monotonic() + PATIENCE_SECONDS
            while "begins late" not in collector.program.errors:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (whole := collector.client.api("GET", f"/contacts/{contact}/export")).status != 200:
        assert time.monotonic() < deadline
    assert len(whole.json["events"]) == BATCHES * 1_000


@pytest.mark.parametrize(
    ("fault", "status", "code", "retry_after"),
    [
        ("psycopg.OperationalError('the server closed the connection')", 503, "overloaded", "5"),
        ("NoPerson(1)", 404, "not_found", None),
        ("KeyError(1)", 500, "internal", None),
    ],
    ids=["an outage", "deleted meanwhile", "a defect"],
)
def test_what_fails_before_anything_was_sent_is_answered_in_the_one_shape(
    collector: Collector, fault: str, status: int, code: str, retry_after: str | None
) -> None:
    contact = somebody(collector)
    collector.stop()
    collector.start(FAULTS.format(fault=fault))
    answer = collector.client.api("GET", f"/contacts/{contact}/export")
    assert (answer.status, answer.codes, answer.headers["Retry-After"]) == (status, [code], retry_after)
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Content-Type"] == "application/json"
    assert "Content-Disposition" not in answer.headers
    assert f"request {answer.json['request_id']} failed" in collector.program.errors
