"""What is spoken: HTTP/1.1, its addresses undone once, its headers bounded."""

import contextlib
import socket

import pytest

from tests.support.client import Client
from tests.support.servers import Collector

pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
LARGEST = 65_536
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""Of a client of HTTP/2 that knows beforehand whom it speaks to, with its settings (RFC 9113)."""
MORE = b"\x04\x00\x00\x00\x00\x00"
"""How the settings of the other side begin, behind the length."""


def said(collector: Collector, request: bytes) -> bytes:
    """Return the beginning of what comes back, nothing where the connection ends."""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", collector.port), 30) as connection:
        connection.sendall(request)
        return connection.recv(65_536)
    return b""


def test_an_address_is_undone_once(collector: Collector) -> None:
    for user in ("joe%40x.example", "joe@x.example"):
        assert collector.client.api("POST", "/contacts", {"role": "user", "external_id": user}).status == 200
    found = collector.client.api("GET", "/contacts/find_by_external_id/joe%2540x.example")
    assert found.json["external_id"] == "joe%40x.example"
    assert Client(collector.url).get("/%63onsole/sign-in").status == 200
    assert Client(collector.url).get("/%2563onsole/sign-in").status == 404


def test_signs_beyond_ascii_stand_in_an_address_as_in_a_name(collector: Collector) -> None:
    assert collector.client.api("POST", "/contacts", {"role": "user", "external_id": "zo\u00eb"}).status == 200
    assert collector.client.api("GET", "/contacts/find_by_external_id/zo%C3%AB").json["external_id"] == "zo\u00eb"


def test_nobody_is_answered_in_http_2(collector: Collector) -> None:
    """It lets a few bytes stand for thousands of long headers; a proxy that speaks it asks in HTTP/1.1."""
    assert MORE not in said(collector, PREFACE)


@pytest.mark.parametrize(("size", "answered"), [(LARGEST // 2, True), (2 * LARGEST, False)])
def test_headers_are_bounded(collector: Collector, size: int, answered: bool) -> None:
    request = f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {'x' * size}\r\n\r\n".encode()
    assert said(collector, request).startswith(b"HTTP/1.1 200") == answered
