"""A network between browsers and the collector that can be told to fail."""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOST = "collect.other"
FATES = ("pass", "drop", "cut", "busy", "redirect", "empty", "garble", "shorten", "hang", "wait")
PORTAL = b"<!doctype html><title>Welcome to the hotel</title>"


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
    `busy`: 503 with Retry-After of one second. A number: that status and a page of somebody else's. `redirect`: to such a page.
    `empty`: status 200 and nothing. `garble`: handed on, and the answer's body replaced by no JSON. `shorten`: handed on, and only half
    of the answer's body comes back. `hang`: no answer until the test ends, which is also what becomes of `/endless`. `wait`: handed on
    once `hold` is lifted, as is `/held`. Bodies larger than `limit` meet 413, as from a proxy with a limit of its own.
    """

    def __init__(self, port: int, target: str, scheme: str) -> None:
        self.port = port
        self.target = urlsplit(target)
        self.scheme = scheme
        self.path = "/collect"
        self.fate: str | int = "pass"
        self.fates: list[str | int] = []
        self.limit = 1 << 30
        self.log: list[Sent] = []
        self.hold = threading.Event()
        self.over = threading.Event()

    @property
    def address(self) -> str:
        """The address for the script tag."""
        return f"{self.scheme}://{HOST}:{self.port}"

    def meets(self, request: Sent) -> str | int:
        """Return the fate of a request."""
        if request.path in ("/endless", "/held"):
            return "hang" if request.path == "/endless" else "wait"
        if request.method != "POST" or request.path != self.path:
            return "pass"
        if len(request.body) > self.limit:
            return 413
        fate = self.fates.pop(0) if self.fates else self.fate
        if fate not in FATES and not isinstance(fate, int):
            raise ValueError(f"no such fate: {fate}")
        return fate

    def sent(self, path: str = "/collect") -> list[Sent]:
        """Return the requests to a path."""
        return [one for one in self.log if urlsplit(one.path).path == path]

    def tries(self, event: str) -> list[Sent]:
        """Return the envelopes that held an event of this name."""
        return [one for one in self.sent() if one.method == "POST" and event in one.names]


@contextmanager
def gateway_to(target: str, tls: ssl.SSLContext | None = None) -> Iterator[Gateway]:
    """Run a gateway on a free port of 127.0.0.1, over https where it is given what that takes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Sent(self.command, self.path, self.headers, body)
            gateway.log.append(request)
            fate = gateway.meets(request)
            if fate == "hang":
                gateway.over.wait(60)
            elif fate == "wait":
                gateway.hold.wait(60)
            if fate in ("drop", "hang"):
                self.close_connection = True
            elif fate == "busy":
                self.answer(503, [("Retry-After", "1"), ("Access-Control-Expose-Headers", "Retry-After")], b"{}")
            elif fate == "redirect":
                self.answer(302, [("Location", "/elsewhere")], b"")
            elif fate == "empty":
                self.answer(200, [], b"")
            elif isinstance(fate, int):
                self.answer(fate, [("Content-Type", "text/html")], PORTAL)
            elif request.path == "/elsewhere":
                self.answer(200, [("Content-Type", "text/html")], PORTAL)
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
            if fate == "shorten":
                content = content[: len(content) // 2]
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in ("content-length", "connection", "date")]
            self.answer(answer.status, kept, b"\x1f\x8bnot json" if fate == "garble" else content)

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            if not any(name.lower() == "access-control-allow-origin" for name, _ in headers):
                headers = [*headers, ("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))]
                headers.append(("Access-Control-Allow-Credentials", "true"))
            for name, value in headers:
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status != 204:
                self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Be quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A browser that closes early is no error."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        gateway = Gateway(server.server_address[1], target, "https" if tls else "http")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield gateway
        finally:
            gateway.over.set()
            gateway.hold.set()
            server.shutdown()
            thread.join()
