"""A network between browsers and the collector that can be told to fail."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOST = "collect.other"


@dataclass(frozen=True)
class Sent:
    """One request that came by; `at` in seconds of the monotonic clock."""

    method: str
    path: str
    headers: http.client.HTTPMessage
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def names(self) -> list[str]:
        """The names of the events in an envelope."""
        return [item["name"] for item in self.json["items"] if item["type"] == "event"]


class Gateway:
    """Hands on to a collector. What is posted to `path` meets one of these fates; `fates` come first, then `fate`.

    `pass`: handed on. `drop`: the connection is cut before. `cut`: handed on, and the connection cut instead of the answer.
    `busy`: 503 with Retry-After of one second. `fail`: 500. `portal`: status 200 and a page of somebody else's. `garble`: handed on,
    and the answer's body replaced by no JSON. `hang`: no answer until the test ends, which is also what becomes
    of `/endless`.
    """

    def __init__(self, port: int, target: str) -> None:
        self.port = port
        self.target = urlsplit(target)
        self.path = "/collect"
        self.fate = "pass"
        self.fates: list[str] = []
        self.log: list[Sent] = []
        self.over = threading.Event()

    @property
    def address(self) -> str:
        """The address for the script tag."""
        return f"http://{HOST}:{self.port}"

    def sent(self, path: str = "/collect") -> list[Sent]:
        """Return the requests to a path."""
        return [one for one in self.log if urlsplit(one.path).path == path]

    def tries(self, event: str) -> list[Sent]:
        """Return the envelopes that held an event of this name."""
        return [one for one in self.sent() if one.method == "POST" and event in one.names]


@contextmanager
def gateway_to(target: str) -> Iterator[Gateway]:
    """Run a gateway on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Sent(self.command, self.path, self.headers, body)
            gateway.log.append(request)
            fate = "pass"
            if request.method == "POST" and request.path == gateway.path:
                fate = gateway.fates.pop(0) if gateway.fates else gateway.fate
            elif request.path == "/endless":
                fate = "hang"
            if fate == "hang":
                gateway.over.wait(60)
            if fate in ("drop", "hang"):
                self.close_connection = True
            elif fate == "portal":
                self.answer(200, [("Content-Type", "text/html")], b"<!doctype html><title>Welcome to the hotel</title>")
            elif fate == "fail":
                self.answer(500, [], b"")
            elif fate == "busy":
                self.answer(503, [("Retry-After", "1"), ("Access-Control-Expose-Headers", "Retry-After")], b"{}")
            else:
                self.hand_on(request, fate)

        do_GET = do_POST = do_OPTIONS = handle_any  # noqa: N815

        def hand_on(self, request: Sent, fate: str) -> None:
            connection = http.client.HTTPConnection(gateway.target.hostname or "", gateway.target.port, timeout=30)
            try:
                connection.request(request.method, request.path, request.body, dict(request.headers))
                answer = connection.getresponse()
                content = answer.read()
            except OSError:
                self.close_connection = True
                return
            finally:
                connection.close()
            if fate == "cut":
                self.close_connection = True
                return
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in ("content-length", "connection", "date")]
            self.answer(answer.status, kept, b"\x1f\x8bnot json" if fate == "garble" else content)

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            if not any(name.lower() == "access-control-allow-origin" for name, _ in headers):
                headers = [*headers, ("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))]
                headers.append(("Access-Control-Allow-Credentials", "true"))
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Be quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A browser that closes early is no error."""

    with Server(("127.0.0.1", 0), Handler) as server:
        gateway = Gateway(server.server_address[1], target)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield gateway
        finally:
            gateway.over.set()
            server.shutdown()
            thread.join()
