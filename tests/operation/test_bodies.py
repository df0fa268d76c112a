"""Bodies are bounded all together and in time, with no proxy in front."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from secrets import token_urlsafe

import pytest

from tests.support.client import JSON, Client
from tests.support.envelopes import envelope, new_event
from tests.support.servers import ORIGIN, Collector

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
SIZE = 1_000_000
SLOW = 4
"""More of these than so many find no room: four times the limit of a body is the least that is kept."""
PATIENCE_SECONDS = 60
BOUNDED = "from collector.web import bodies\nbodies.MOST_BYTES, bodies.SECONDS = 1, {seconds}"

Start = Callable[[float], Collector]


@pytest.fixture
def start(start_collector: Callable[..., Collector]) -> Start:
    """Starts a collector with as little room for bodies as may be, and so many seconds for each."""

    def begin(seconds: float) -> Collector:
        return start_collector(changes=BOUNDED.format(seconds=seconds))

    return begin


@contextlib.contextmanager
def nearly_sent(collector: Collector, path: str = "/collect", head: str = f"Content-Length: {SIZE}") -> Iterator[socket.socket]:
    """A request of which all but the last byte has been sent."""
    with socket.create_connection(("127.0.0.1", collector.port), 30) as connection:
        begun = f"{SIZE:x}\r\n" if "chunked" in head else ""
        text = f"POST {path} HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\n{head}\r\n\r\n{begun}"
        connection.sendall(text.encode() + b" " * (SIZE - 1))
        yield connection


def answer(connection: socket.socket) -> tuple[int, dict[str, str], list[str]]:
    """The status, the headers and the codes of an answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    codes = [error["code"] for error in json.loads(response.read())["errors"]]
    return response.status, {name.lower(): value for name, value in response.getheaders()}, codes


def page_view(collector: Collector, size: int = SIZE) -> tuple[int, dict[str, str]]:
    sender = f"{token_urlsafe(16)}.{token_urlsafe(16)}"
    body = json.dumps(envelope(collector.site_key, sender, new_event("came"))).ljust(size).encode()
    given = Client(collector.url).request("POST", "/collect", body, {"Content-Type": JSON, "Origin": ORIGIN})
    return given.status, {name.lower(): value for name, value in given.headers.items()}


def fill(collector: Collector, stack: ExitStack, head: str) -> dict[str, str]:
    """Fill the room, and return what whoever then comes is told (headers). Who comes while it is being filled may take a part of it."""
    for attempt in range(10):
        with ExitStack() as tried:
            for _ in range(SLOW):
                tried.enter_context(nearly_sent(collector, head=head))
            time.sleep(0.2 * attempt)
            status, headers = page_view(collector)
            if status == 503:
                stack.push(tried.pop_all())
                return headers
    raise AssertionError("the room was never full")


@pytest.mark.parametrize("head", [f"Content-Length: {SIZE}", "Transfer-Encoding: chunked"])
def test_who_comes_while_there_is_no_room_is_told_to_come_back(start: Start, head: str) -> None:
    collector = start(600)
    with ExitStack() as stack:
        headers = fill(collector, stack, head)
        assert (headers.get("retry-after"), headers.get("access-control-allow-origin")) == ("5", ORIGIN)
        assert page_view(collector, 2_000)[0] == 202, "there is room for small ones"
        for _ in range(SLOW):  # what REST is sent does not share it
            stack.enter_context(nearly_sent(collector, "/api/events"))
        assert collector.client.api("POST", "/events", {"event_name": "came", "user_id": "1", "create_contact": True}).status == 202
    deadline = time.monotonic() + PATIENCE_SECONDS
    while page_view(collector)[0] != 202:  # until it is known that they left
        assert time.monotonic() < deadline
    assert [page_view(collector)[0] for _ in range(2 * SLOW)] == [202] * 2 * SLOW


def test_a_body_that_does_not_arrive_is_given_up(start: Start) -> None:
    collector = start(2)
    with ExitStack() as stack:
        given = [(path, head) for path in ("/collect", "/api/events") for head in (f"Content-Length: {SIZE}", "Transfer-Encoding: chunked")]
        for connection in [stack.enter_context(nearly_sent(collector, *one)) for one in given]:
            status, headers, codes = answer(connection)
            assert (status, headers["retry-after"], codes) == (503, "5", ["overloaded"])
    assert page_view(collector)[0] == 202
