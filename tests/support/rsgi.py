"""An RSGI server for one request at a time, dressed as a WSGI application, so that one test client reaches every entry."""

import asyncio
import functools
import os
import threading
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from collector.web.browser import Responder
from collector.web.rsgi import RsgiEntry


class Headers(dict[str, str]):
    """RSGI's headers: names in lower case."""

    def get_all(self, name: str) -> list[str]:
        """Every header of this name; WSGI has put them together."""
        return [self[name]] if name in self else []


class Scope:
    """RSGI's scope, from a WSGI environment."""

    def __init__(self, environ: dict[str, Any]) -> None:
        names = {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
        names |= {key: environ[key] for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(key)}
        self.headers = Headers({name.lower().replace("_", "-"): value for name, value in names.items()})
        self.method = environ["REQUEST_METHOD"]
        self.path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        self.query_string = environ.get("QUERY_STRING", "")
        self.authority = environ.get("HTTP_HOST")
        self.proto = "http"
        self.scheme = "http"
        self.http_version = "1.1"
        self.server = "127.0.0.1:80"
        self.client = f"{environ.get('REMOTE_ADDR', '127.0.0.1')}:50000"


class Protocol:
    """RSGI's protocol: the body on demand, and what was answered."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.answer: tuple[int, list[tuple[str, str]], bytes] | None = None
        self._reader: threading.Thread | None = None

    async def __call__(self) -> bytes:
        return self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), 65_536):
            yield self._body[start : start + 65_536]

    async def client_disconnect(self) -> None:
        await asyncio.Event().wait()  # it stays

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answer = (status, headers, body)

    def response_file(self, status: int, headers: list[tuple[str, str]], path: str) -> None:
        with Path(path).open("rb") as file:
            self.answer = (status, headers, b"")
            self._reader = threading.Thread(target=self._read, args=(os.dup(file.fileno()),))
        self._reader.start()

    def _read(self, file: int) -> None:
        with os.fdopen(file, "rb") as open_file:
            body = open_file.read()
        assert self.answer is not None
        self.answer = (*self.answer[:2], body)

    def whole(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Wait for what is being sent, and return the answer."""
        if self._reader is not None:
            self._reader.join(60)
        assert self.answer is not None
        return self.answer


class RsgiServer:
    """Runs requests on an event loop in another thread (Playwright keeps one running in the tests' thread)."""

    def __init__(self, responder: Responder, others: Any) -> None:
        self._entry = RsgiEntry(responder, others, threads=4, console_threads=4, largest=10_000_000, close=lambda: None)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        protocol = Protocol(environ["wsgi.input"].read())
        asyncio.run_coroutine_threadsafe(self._entry.__rsgi__(Scope(environ), protocol), loop()).result(60)  # type: ignore[arg-type]
        status, headers, body = protocol.whole()
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    """The event loop of all requests, running in a thread until the tests end."""
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, daemon=True).start()
    return made
