"""The site and the collector of every tracker that is measured: serves its page and script, and takes whatever it sends."""

import base64
import binascii
import gzip
import json
import re
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

SITE, COLLECTOR = "shop.example", "collect.other"
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")


@dataclass(frozen=True)
class Request:
    """What a tracker asked of its collector."""

    method: str
    path: str
    body: bytes

    def events(self, name: str) -> int:
        """Count how often an event's name stands in it, however it is packed."""
        body = self.body
        with suppress(OSError, EOFError, zlib.error):
            body = gzip.decompress(body)
        text = unquote_plus(body.decode("utf-8", "replace"))
        return text.count(name) + sum(decoded(found).count(name) for found in _BASE64.findall(text))


def decoded(text: str) -> str:
    """Return what base64 holds, of either alphabet; empty for none."""
    try:
        return base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4)).decode("utf-8", "replace")
    except binascii.Error:
        return ""


class PeerServer:
    """Pages at SITE, one for each tracker; its scripts and its collector at COLLECTOR, in a folder of its name.

    While it is `down`, nothing is taken. `log` holds what was asked of the collectors, `served` the scripts that were.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.down = False
        self.log: list[Request] = []
        self.served: list[str] = []
        self.pages: dict[str, bytes] = {}
        self.scripts: dict[str, bytes] = {}

    def add(self, name: str, head: str, scripts: Mapping[str, bytes] | None = None) -> None:
        """Serve a page with this head, and scripts beside the tracker's collector."""
        page = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>{head}</head><body>{name}</body></html>'
        self.pages[f"/{quote(name)}"] = page.encode()
        for file, content in (scripts or {}).items():
            self.scripts[f"/{quote(name)}/{file}"] = content

    def page(self, name: str) -> str:
        """Return the address of a tracker's page."""
        return f"http://{SITE}:{self.port}/{quote(name)}"

    def collector(self, name: str) -> str:
        """Return the address of its collector."""
        return f"http://{COLLECTOR}:{self.port}/{quote(name)}"

    def sent(self, name: str) -> list[Request]:
        """Return what a tracker asked for, its script aside."""
        return [one for one in self.log if one.path.startswith(f"/{quote(name)}/")]

    def loaded(self, name: str) -> list[bytes]:
        """Return the scripts that a tracker's page has loaded."""
        return [self.scripts[path] for path in sorted(set(self.served)) if path.startswith(f"/{quote(name)}/")]

    def answer(self, request: Request) -> dict[str, Any]:
        """Return an answer that pleases: Leadlight's own to its envelope, what the others look for besides."""
        if request.path.endswith("/collect"):
            count = len(json.loads(request.body)["items"])
            return {"accepted": count, "duplicates": 0, "refused": [], "flagged": [], "time": time.time_ns() // 1_000_000}
        return {
            "success": True,
            "status": 1,
            "error": None,
            "featureFlags": {},
            "featureFlagPayloads": {},
            "supportedCompression": ["gzip-js"],
        }


@contextmanager
def peer_server() -> Iterator[PeerServer]:
    """Run it on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            request = Request(self.command, urlsplit(self.path).path, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            if self.command == "GET" and request.path in server.pages:
                self.reply(200, "text/html; charset=utf-8", server.pages[request.path])
            elif self.command == "GET" and request.path in server.scripts:
                server.served.append(request.path)
                self.reply(200, "text/javascript; charset=utf-8", server.scripts[request.path])
            elif server.down:
                self.close_connection = True
            else:
                server.log.append(request)
                if self.command == "OPTIONS":
                    self.reply(204, "text/plain", b"")
                elif self.command == "GET":
                    self.reply(404, "text/plain", b"")
                else:
                    status = 202 if request.path.endswith("/collect") else 200
                    self.reply(status, "application/json", json.dumps(server.answer(request)).encode())

        do_GET = do_POST = do_OPTIONS = handle_any  # noqa: N815

        def reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Access-Control-Allow-Headers", self.headers.get("Access-Control-Request-Headers", "content-type"))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Be quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A browser that closes early is no error."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        server = PeerServer(listening.server_address[1])
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
