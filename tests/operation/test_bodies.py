"""Bodies are bounded all together and in time, with no proxy in front: many who send slowly cost others nothing but a moment."""

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from secrets import token_urlsafe

import pytest

from tests.support.client import JSON, Client
from tests.support.envelopes import envelope, new_event
from tests.support.processes import Program, free_port
from tests.support.servers import ORIGIN, Collector

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
SIZE = 1_000_000
ROOM = 3 * SIZE
SECONDS = 4
BOUNDED = f"""
from collector.cli import main
from collector.web import bodies
bodies.MOST_BYTES, bodies.SECONDS = {ROOM}, {SECONDS}
main()
"""


@pytest.fixture
def bounded(start_collector: Callable[..., Collector]) -> Iterator[Collector]:
    """A collector that has room for three bodies, and four seconds for each."""
    collector = start_collector()
    collector.stop()
    (collector.folder / "bounded.py").write_text(BOUNDED)
    collector.port = free_port()
    collector.program = Program("bounded", ["bounded", "serve", "--port", str(collector.port)], collector.folder, collector.environ)
    collector.program.wait_for(collector.url, "/readyz")
    yield collector
    collector.program.kill()


@contextlib.contextmanager
def half_sent(collector: Collector, path: str = "/collect", head: str = f"Content-Length: {SIZE}") -> Iterator[socket.socket]:
    """A request of which half has been sent."""
    with socket.create_connection(("127.0.0.1", collector.port), 30) as connection:
        begun = f"{SIZE:x}\r\n" if "chunked" in head else ""
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\n{head}\r\n\r\n{begun}".encode() + b" " * (SIZE // 2))
        yield connection


def answer(connection: socket.socket) -> tuple[int, dict[str, str], list[str]]:
    """The status, the headers and the codes of an answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return (
        response.status,
        {name.lower(): value for name, value in response.getheaders()},
        [error["code"] for error in json.loads(response.read())["errors"]],
    )


def page_view(collector: Collector) -> tuple[int, dict[str, str]]:
    body = json.dumps(envelope(collector.site_key, f"{token_urlsafe(16)}.{token_urlsafe(16)}", new_event("came"))).ljust(SIZE).encode()
    given = Client(collector.url).request("POST", "/collect", body, {"Content-Type": JSON, "Origin": ORIGIN})
    return given.status, {name.lower(): value for name, value in given.headers.items()}


def test_who_comes_while_there_is_no_room_is_told_to_come_back(bounded: Collector) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(half_sent(bounded)) for _ in range(3)]
        while page_view(bounded)[0] != 503:  # until the last of them has begun
            pass
        status, headers = page_view(bounded)
        assert (status, headers.get("retry-after"), headers.get("access-control-allow-origin")) == (503, "5", ORIGIN)
        assert bounded.client.get("/healthz").status == 200
        for connection in slow:
            status, headers, codes = answer(connection)
            assert (status, codes, headers.get("access-control-allow-origin")) == (408, ["body_invalid"], ORIGIN)
    assert page_view(bounded)[0] == 202


def test_a_body_that_does_not_arrive_is_given_up(bounded: Collector) -> None:
    with ExitStack() as stack:
        given = [(path, head) for path in ("/collect", "/api/events") for head in (f"Content-Length: {SIZE}", "Transfer-Encoding: chunked")]
        for connection in [stack.enter_context(half_sent(bounded, *one)) for one in given]:
            assert answer(connection)[0] == 408


def test_room_is_free_again_once_answered(bounded: Collector) -> None:
    for _ in range(10):
        assert page_view(bounded)[0] == 202


def test_whoever_leaves_in_the_middle_takes_no_room_along(bounded: Collector) -> None:
    for _ in range(4):
        with half_sent(bounded):
            pass
    while page_view(bounded)[0] != 202:
        pass
    for _ in range(4):
        assert page_view(bounded)[0] == 202
